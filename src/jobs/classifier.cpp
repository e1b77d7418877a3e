#include <headway/jobs/classifier.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/io/image_processor.h>
#include <headway/jobs/generator.h>
#include <headway/models/llama.h>
#include <headway/nn/task_head.h>
#include <headway/ops/softmax.h>
#include <headway/ops/views.h>

#include "jobs/model_text.h"

namespace headway::inline v1::jobs {
namespace {

constexpr std::size_t kBatchTokens = 8192;

Classified ranked(const std::vector<std::string>& names, const std::vector<double>& probabilities) {
  Classified out;
  for (std::size_t k = 0; k < names.size(); ++k) out.classes.emplace_back(names[k], probabilities[k]);
  std::stable_sort(out.classes.begin(), out.classes.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

}  // namespace

struct Classifier::Impl {
  std::shared_ptr<const hub::HubModel> model;
  std::optional<text::HubTokenizer> tokenizer;
  std::optional<io::ImageProcessor> images;
  std::vector<std::string> labels;
  bool exclusive = true;  // one class of all, not each by itself
  std::int64_t max_length = 0;
  std::atomic<std::size_t> cut{0};

  // [B, K]: the head's scores, of a decoder those of the last token.
  Tensor scores(const models::PackedBatch& batch) const {
    if (model->encoder()) return model->encoder()->scores(batch);
    models::LanguageModel& lm = *model->language_model();
    return lm.logits(nn::pool(lm.hidden(batch), batch.offsets, nn::Pooling::last));
  }
  // Probabilities, or logits of classes that stand each by itself.
  Tensor outcome(const models::PackedBatch& batch) const {
    const Tensor logits = cast(scores(batch), DType::float32);
    return exclusive ? softmax(logits) : logits;
  }
  void read_labels();
  Classified row(const Tensor& outcomes, std::int64_t r) const {
    std::vector<double> probabilities;
    for (std::int64_t k = 0; k < outcomes.size(1); ++k) {
      const auto value = static_cast<double>(outcomes.data<float>()[r * outcomes.size(1) + k]);
      probabilities.push_back(exclusive ? value : 1 / (1 + std::exp(-value)));
    }
    return ranked(labels, probabilities);
  }
  std::vector<Classified> classify(const std::vector<text::Encoding>& encoded, const OnProgress& on_progress);
};

// What transformers' pipeline makes of the head's scores.
void Classifier::Impl::read_labels() {
  const auto config = nlohmann::json::parse(model->config(), nullptr, false);
  const auto field = [&](const char* name) {
    return config.is_object() && config.contains(name) ? config[name] : nlohmann::json();
  };
  labels = model->labels();
  const nlohmann::json number = field("num_labels"), problem = field("problem_type");
  const std::int64_t count = number.is_number_integer() ? number.get<std::int64_t>() : 2;
  for (std::int64_t i = 0; labels.empty() && i < count; ++i) labels.push_back(fmt::format("LABEL_{}", i));
  const std::string kind = problem.is_string() ? problem.get<std::string>() : "";
  if (kind == "regression") {
    fail(
        ErrorCode::unsupported, "Classifier",
        fmt::format("{}: problem_type is regression, whose numbers are no probabilities; want classification",
                    model->path().string()));
  }
  exclusive = kind != "multi_label_classification" && labels.size() != 1;
}

Classifier::Classifier(const std::string& spec, const hub::LoadOptions& options)
    : Classifier(std::make_shared<const hub::HubModel>(hub::HubModel::load(spec, options))) {}

Classifier::Classifier(std::shared_ptr<const hub::HubModel> loaded)
    : impl_(new Impl{.model = std::move(loaded), .tokenizer = {}, .images = {}, .labels = {}}) {
  const hub::HubModel& model = *impl_->model;
  const std::string& architecture = model.architecture();
  const bool pictures = architecture.ends_with("ForImageClassification");
  if (!pictures && !architecture.ends_with("ForSequenceClassification")) {
    fail(ErrorCode::unsupported, "Classifier",
         fmt::format("{} is a {}; want a model for sequence or image classification (or, with examples, a "
                     "language model)",
                     model.path().string(), architecture.empty() ? "model without a head" : architecture));
  }
  if (pictures) {
    impl_->images = io::ImageProcessor::load(model.path());
  } else {
    impl_->tokenizer = tokenizer_of(model.path());
    impl_->max_length =
        model.encoder() ? model.encoder()->max_length() : model.language_model()->max_length();
  }
  impl_->read_labels();
}
Classifier::~Classifier() = default;
Classifier::Classifier(Classifier&&) noexcept = default;
Classifier& Classifier::operator=(Classifier&&) noexcept = default;
bool Classifier::takes_images() const { return impl_->images.has_value(); }
const std::vector<std::string>& Classifier::labels() const { return impl_->labels; }
const hub::HubModel& Classifier::model() const { return *impl_->model; }
std::size_t Classifier::cut() const { return impl_->cut; }

std::vector<Classified> Classifier::Impl::classify(const std::vector<text::Encoding>& encoded,
                                                   const OnProgress& on_progress) {
  const NoGrad no_grad;
  std::vector<std::size_t> lengths;
  std::size_t truncated = 0;
  for (const text::Encoding& encoding : encoded) {
    lengths.push_back(encoding.size());
    if (encoding.truncated > 0) ++truncated;
  }
  cut = truncated;
  std::vector<Classified> out(encoded.size());
  std::int64_t done = 0;
  for (const std::vector<std::size_t>& batch : batches_of(lengths, kBatchTokens)) {
    std::vector<std::vector<std::int32_t>> ids;
    std::vector<std::int32_t> types;
    for (const std::size_t i : batch) {
      ids.push_back(encoded[i].ids);
      types.insert(types.end(), encoded[i].type_ids.begin(), encoded[i].type_ids.end());
    }
    models::PackedBatch packed = models::pack(ids);
    packed.types = from(types, {packed.offsets.back()});
    const Tensor found = outcome(packed);
    for (std::size_t r = 0; r < batch.size(); ++r) out[batch[r]] = row(found, static_cast<std::int64_t>(r));
    done += static_cast<std::int64_t>(batch.size());
    if (on_progress) on_progress(done, static_cast<std::int64_t>(encoded.size()));
  }
  return out;
}

std::vector<Classified> Classifier::texts(const std::vector<std::string>& texts,
                                          const OnProgress& on_progress) const {
  if (takes_images())
    fail(ErrorCode::unsupported, "Classifier", "this model classifies images; want image files");
  return impl_->classify(
      impl_->tokenizer->encode(texts, {.max_length = std::max<std::int64_t>(0, impl_->max_length)}),
      on_progress);
}

std::vector<Classified> Classifier::pairs(const std::vector<std::pair<std::string, std::string>>& pairs,
                                          const OnProgress& on_progress) const {
  if (takes_images())
    fail(ErrorCode::unsupported, "Classifier", "this model classifies images; want image files");
  std::vector<text::Encoding> encoded;
  for (const auto& [first, second] : pairs) {
    text::EncodeOptions options{.max_length = std::max<std::int64_t>(0, impl_->max_length)};
    options.pair = second;
    encoded.push_back(impl_->tokenizer->encode(first, options));
  }
  return impl_->classify(encoded, on_progress);
}

std::vector<Classified> Classifier::images(const std::vector<std::filesystem::path>& files,
                                           const OnProgress& on_progress) const {
  if (!takes_images()) fail(ErrorCode::unsupported, "Classifier", "this model classifies text; want texts");
  const NoGrad no_grad;
  std::vector<Classified> out;
  for (const std::filesystem::path& file : files) {
    const Tensor pixels = (*impl_->images)(io::read_image(file));
    const Tensor batch = reshape(pixels, {1, pixels.size(0), pixels.size(1), pixels.size(2)});
    out.push_back(impl_->row(impl_->outcome({.images = batch}), 0));
    if (on_progress)
      on_progress(static_cast<std::int64_t>(out.size()), static_cast<std::int64_t>(files.size()));
  }
  return out;
}

std::vector<Classified> classify_by_examples(const Generator& model, const std::vector<Shot>& shots,
                                             const std::vector<std::string>& texts,
                                             const OnProgress& on_progress) {
  std::vector<std::string> labels, endings;
  std::string examples;
  for (const Shot& shot : shots) {
    if (shot.label.empty()) fail(ErrorCode::value, "classify_by_examples", "an example has no label");
    if (std::find(labels.begin(), labels.end(), shot.label) == labels.end()) labels.push_back(shot.label);
    examples += fmt::format("Text: {}\nLabel: {}\n\n", shot.text, shot.label);
  }
  if (labels.size() < 2) {
    fail(ErrorCode::value, "classify_by_examples",
         fmt::format("the examples have {} labels; want at least two", labels.size()));
  }
  for (const std::string& label : labels) endings.push_back(" " + label + "\n");
  std::vector<std::string> beginnings;
  for (const std::string& text : texts) beginnings.push_back(fmt::format("Text: {}\nLabel:", text));
  std::vector<Classified> out;
  for (const auto& scored : model.score_endings(examples, beginnings, endings, on_progress)) {
    std::vector<double> weights;
    double largest = -INFINITY, total = 0;
    for (const Generator::Ending& ending : scored) {
      if (ending.tokens == 0)
        fail(ErrorCode::value, "classify_by_examples",
             "a label has no tokens; want text that the tokenizer has");
      weights.push_back(ending.log_probability /
                        static_cast<double>(std::max<std::int64_t>(1, ending.tokens)));
      largest = std::max(largest, weights.back());
    }
    for (double& weight : weights) total += weight = std::exp(weight - largest);
    for (double& weight : weights) weight /= total;
    out.push_back(ranked(labels, weights));
  }
  return out;
}

}  // namespace headway::inline v1::jobs
