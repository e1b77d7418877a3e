#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <headway/core/export.h>

namespace headway::inline v1::text {

/// Likeness of two sentences in [0, 1]: the Dice coefficient of their bags of words. Both are folded
/// (corpus.h), words are runs of letters, digits and marks, and a bag counts repetitions: 2·|A ∩ B| / (|A| +
/// |B|), with |A ∩ B| = Σ_w min(A_w, B_w). Order does not matter. Two sentences without a word are alike (1)
/// when equal, else 0.
HEADWAY_API double similarity(std::string_view a, std::string_view b);

struct Match {
  std::int64_t index = -1;  ///< -1: nothing shares a word
  double similarity = 0;
};

/// Finds the most similar of many sentences, exactly, by an inverted index of words.
class HEADWAY_API SimilarityIndex {
 public:
  explicit SimilarityIndex(const std::vector<std::string>& sentences);
  ~SimilarityIndex();
  SimilarityIndex(SimilarityIndex&&) noexcept;
  SimilarityIndex& operator=(SimilarityIndex&&) noexcept;

  /// The most similar sentence; of equally similar ones the first.
  Match nearest(std::string_view sentence) const;
  /// nearest() of each, in parallel.
  std::vector<Match> nearest(const std::vector<std::string>& sentences) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace headway::inline v1::text
