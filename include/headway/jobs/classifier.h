#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <headway/hub/model.h>
#include <headway/jobs/progress.h>

namespace headway::inline v1::jobs {

/// The classes of one input, the most probable first. Of a model whose classes exclude one another the
/// probabilities add up to 1; of one with several labels for a text (problem_type
/// "multi_label_classification"), or with a single label, each stands by itself.
struct Classified {
  std::vector<std::pair<std::string, double>> classes;  ///< name and probability
};

/// Texts, pairs of texts or images to classes, by a model with a classification head.
class HEADWAY_API Classifier {
 public:
  /// `spec` as hub::HubModel::load takes it. Error(unsupported) for a model without such a head, and for one
  /// whose head gives a number that is no probability (problem_type "regression").
  explicit Classifier(const std::string& spec, const hub::LoadOptions& options = {});
  /// Of a model that is loaded, whose weights it shares.
  explicit Classifier(std::shared_ptr<const hub::HubModel> model);
  ~Classifier();
  Classifier(Classifier&&) noexcept;
  Classifier& operator=(Classifier&&) noexcept;

  std::vector<Classified> texts(const std::vector<std::string>& texts,
                                const OnProgress& on_progress = {}) const;
  std::vector<Classified> pairs(const std::vector<std::pair<std::string, std::string>>& pairs,
                                const OnProgress& on_progress = {}) const;
  std::vector<Classified> images(const std::vector<std::filesystem::path>& files,
                                 const OnProgress& on_progress = {}) const;
  bool takes_images() const;
  const std::vector<std::string>& labels() const;
  const hub::HubModel& model() const;
  /// How many texts of the last call were cut to what the model takes.
  std::size_t cut() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// An example for few-shot classification: a text and its label.
struct Shot {
  std::string text, label;
};
/// Classes by a language model that is shown examples (Brown et al. 2020, section 2): of the labels, in the
/// order of their first appearance, the probability of each after the examples and the text, among them.
/// Longer labels are not put at a disadvantage: their log-probability is divided by their number of tokens.
class Generator;
HEADWAY_API std::vector<Classified> classify_by_examples(const Generator& model,
                                                         const std::vector<Shot>& shots,
                                                         const std::vector<std::string>& texts,
                                                         const OnProgress& on_progress = {});

}  // namespace headway::inline v1::jobs
