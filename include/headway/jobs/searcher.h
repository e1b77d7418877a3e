#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <headway/jobs/embedder.h>

namespace headway::inline v1::jobs {

/// Lines of a text file that belong together: up to an empty one, and not many more than a small encoder
/// reads at once. Its lines are joined by blanks.
struct Passage {
  std::filesystem::path file;
  std::int64_t line = 0;  ///< the first one, from 1
  std::string text;
};

/// The passages of a file, or of all .txt, .md and .rst files below a folder, in the order of their paths.
/// Error(value) where there is none.
HEADWAY_API std::vector<Passage> passages_of(const std::filesystem::path& folder_or_file);

/// Exact search: every passage is compared with the question. Where the model's files have prompts of these
/// names, "query" stands before the question and "document" before the passages.
class HEADWAY_API Searcher {
 public:
  struct Found {
    double score = 0;  ///< cosine of the angle between question and passage
    std::size_t passage = 0;
  };
  /// Embeds the passages. `embedder` outlives the searcher.
  Searcher(const Embedder& embedder, std::vector<Passage> passages, const OnProgress& on_progress = {});
  /// The closest ones, the best first; of equal ones the earlier first.
  std::vector<Found> operator()(const std::string& question, std::size_t best = 5) const;
  const std::vector<Passage>& passages() const { return passages_; }
  /// How many passages were cut to what the model reads.
  std::size_t cut() const { return cut_; }

 private:
  const Embedder* embedder_;
  std::vector<Passage> passages_;
  Tensor rows_;
  std::size_t cut_ = 0;
};

}  // namespace headway::inline v1::jobs
