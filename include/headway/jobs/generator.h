#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <headway/hub/model.h>
#include <headway/jobs/progress.h>
#include <headway/models/generation.h>

namespace headway::inline v1::jobs {

struct WriteOptions {
  models::GenerationOptions generation = {};  ///< end tokens: the model's own are added
  std::vector<std::string> stop = {};         ///< a text ends before the first of these
};

/// What somebody asks for of all this; what is empty is as the model's files propose.
struct WriteChoices {
  std::optional<std::int64_t> max_tokens = {};
  std::optional<double> temperature = {};  ///< 0: the most probable token
  std::optional<std::int64_t> top_k = {};
  std::optional<double> top_p = {}, min_p = {};
  std::optional<double> repetition_penalty = {}, presence_penalty = {};
  std::uint64_t seed = 0;
  std::vector<std::string> stop = {};
};

/// Told of text as it is written, whole characters; false ends that text, and nothing more is told of it.
using OnText = std::function<bool(std::size_t text, const std::string& piece)>;

struct Perplexity {
  double loss = 0;  ///< mean negative log-probability of a token, natural
  double perplexity = 0, bits_per_byte = 0;
  std::int64_t tokens = 0, bytes = 0;  ///< that were scored: without the first token, which is given
};

/// A language model with its tokenizer: text in, text out.
class HEADWAY_API Generator {
 public:
  /// `spec` as hub::HubModel::load takes it. Error(unsupported) for a model that writes no text.
  explicit Generator(const std::string& spec, const hub::LoadOptions& options = {});
  /// Of a model that is loaded, whose weights it shares.
  explicit Generator(std::shared_ptr<const hub::HubModel> model);
  ~Generator();
  Generator(Generator&&) noexcept;
  Generator& operator=(Generator&&) noexcept;

  /// Goes on with each prompt, or of an encoder–decoder answers it. Returns the new text alone.
  std::vector<std::string> operator()(const std::vector<std::string>& prompts,
                                      const WriteOptions& options = {}, const OnText& on_text = {}) const;
  std::string operator()(const std::string& prompt, const WriteOptions& options = {},
                         const OnText& on_text = {}) const;
  /// How well the model foresees a text. Where it is longer than `context` (0: the model's own), windows of
  /// that many tokens move by `stride` (0: half of it), and each token is scored once, with as much before it
  /// as its window has.
  Perplexity perplexity(const std::string& text, std::int64_t context = 0, std::int64_t stride = 0,
                        const OnProgress& on_progress = {}) const;
  /// log p of each ending after a beginning, summed over its tokens; and how many those are.
  struct Ending {
    double log_probability = 0;
    std::int64_t tokens = 0;
  };
  std::vector<Ending> score_endings(const std::string& beginning,
                                    const std::vector<std::string>& endings) const;
  /// The same of several texts that all begin with `shared`, which is computed once.
  std::vector<std::vector<Ending>> score_endings(const std::string& shared,
                                                 const std::vector<std::string>& beginnings,
                                                 const std::vector<std::string>& endings,
                                                 const OnProgress& on_progress = {}) const;
  /// Sampling as the model's files propose it, greedy where they do not.
  models::GenerationOptions defaults() const;
  /// The defaults with what was chosen in their place. Error(value) for temperature 0 beside top_k, top_p or
  /// min_p: there is nothing to draw from.
  WriteOptions options(const WriteChoices& choices) const;
  const hub::HubModel& model() const;

 private:
  friend class Chat;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace headway::inline v1::jobs
