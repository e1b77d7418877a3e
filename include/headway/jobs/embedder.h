#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <headway/core/tensor.h>
#include <headway/hub/model.h>
#include <headway/jobs/progress.h>

namespace headway::inline v1::jobs {

struct EmbedOptions {
  std::optional<bool> normalize = {};  ///< vectors of length 1; as the model's files say unless given
  std::string prompt = {};             ///< put before every text; the model's default one unless given
  std::string prompt_name = {};        ///< or one of the model's own, "query" say
  std::int64_t batch_tokens = 8192;  ///< tokens that are computed at once, at most; a longer text goes alone
  OnProgress on_progress = {};       ///< told of texts
};

/// Texts to vectors by a model of the sentence-transformers kind, or any encoder (mean of its tokens, as
/// sentence-transformers does where the files say nothing). Reads modules.json: pooling, dense layers,
/// normalization, prompts, the longest text.
class HEADWAY_API Embedder {
 public:
  /// `spec` as hub::HubModel::load takes it.
  explicit Embedder(const std::string& spec, const hub::LoadOptions& options = {});
  /// Of a model that is loaded, whose weights it shares.
  explicit Embedder(std::shared_ptr<const hub::HubModel> model);
  ~Embedder();
  Embedder(Embedder&&) noexcept;
  Embedder& operator=(Embedder&&) noexcept;

  /// [texts, width()] float32. A text's vector has the same bits alone and among any others.
  /// Error(format) for ill-formed UTF-8, naming the text.
  Tensor operator()(const std::vector<std::string>& texts, const EmbedOptions& options = {}) const;
  std::int64_t width() const;
  /// Whether the model's files have a prompt of this name.
  bool has_prompt(const std::string& name) const;
  /// Tokens of a text that are read, at most.
  std::int64_t max_length() const;
  /// How many texts of the last call were cut to that.
  std::size_t cut() const;
  const hub::HubModel& model() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace headway::inline v1::jobs
