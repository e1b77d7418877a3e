#include <headway/jobs/classifier.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>

#include <fmt/format.h>

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
  hub::HubModel model;
  std::optional<text::HubTokenizer> tokenizer;
  std::optional<io::ImageProcessor> images;
  std::vector<std::string> labels;
  std::int64_t max_length = 0;
  std::atomic<std::size_t> cut{0};

  // [B, K]: the head's scores, of a decoder those of the last token.
  Tensor scores(const models::PackedBatch& batch) const {
    if (model.encoder()) return model.encoder()->scores(batch);
    models::LanguageModel& lm = *model.language_model();
    return lm.logits(nn::pool(lm.hidden(batch), batch.offsets, nn::Pooling::last));
  }
  Classified row(const Tensor& probabilities, std::int64_t r) const {
    std::vector<double> of;
    for (std::int64_t k = 0; k < probabilities.size(1); ++k)
      of.push_back(static_cast<double>(probabilities.data<float>()[r * probabilities.size(1) + k]));
    return ranked(labels, of);
  }
  std::vector<Classified> classify(const std::vector<text::Encoding>& encoded);
};

Classifier::Classifier(const std::string& spec, const hub::LoadOptions& options)
    : impl_(new Impl{
          .model = hub::HubModel::load(spec, options), .tokenizer = {}, .images = {}, .labels = {}}) {
  const std::string& architecture = impl_->model.architecture();
  const bool pictures = architecture.ends_with("ForImageClassification");
  if (!pictures && !architecture.ends_with("ForSequenceClassification")) {
    fail(ErrorCode::unsupported, "Classifier",
         fmt::format("{} is a {}; want a model for sequence or image classification (or, with examples, a "
                     "language model)",
                     impl_->model.path().string(),
                     architecture.empty() ? "model without a head" : architecture));
  }
  if (pictures) {
    impl_->images = io::ImageProcessor::load(impl_->model.path());
  } else {
    impl_->tokenizer = tokenizer_of(impl_->model.path());
    impl_->max_length = impl_->model.encoder() ? impl_->model.encoder()->max_length()
                                               : impl_->model.language_model()->max_length();
  }
  impl_->labels = impl_->model.labels();
  if (impl_->labels.empty()) impl_->labels = {"LABEL_0", "LABEL_1"};
}
Classifier::~Classifier() = default;
Classifier::Classifier(Classifier&&) noexcept = default;
Classifier& Classifier::operator=(Classifier&&) noexcept = default;
bool Classifier::takes_images() const { return impl_->images.has_value(); }
const std::vector<std::string>& Classifier::labels() const { return impl_->labels; }
std::size_t Classifier::cut() const { return impl_->cut; }

std::vector<Classified> Classifier::Impl::classify(const std::vector<text::Encoding>& encoded) {
  const NoGrad no_grad;
  std::vector<std::size_t> lengths;
  std::size_t truncated = 0;
  for (const text::Encoding& encoding : encoded) {
    lengths.push_back(encoding.size());
    if (encoding.truncated > 0) ++truncated;
  }
  cut = truncated;
  std::vector<Classified> out(encoded.size());
  for (const std::vector<std::size_t>& batch : batches_of(lengths, kBatchTokens)) {
    std::vector<std::vector<std::int32_t>> ids;
    std::vector<std::int32_t> types;
    for (const std::size_t i : batch) {
      ids.push_back(encoded[i].ids);
      types.insert(types.end(), encoded[i].type_ids.begin(), encoded[i].type_ids.end());
    }
    models::PackedBatch packed = models::pack(ids);
    packed.types = from(types, {packed.offsets.back()});
    const Tensor probabilities = softmax(cast(scores(packed), DType::float32));
    for (std::size_t r = 0; r < batch.size(); ++r)
      out[batch[r]] = row(probabilities, static_cast<std::int64_t>(r));
  }
  return out;
}

std::vector<Classified> Classifier::texts(const std::vector<std::string>& texts) const {
  if (takes_images())
    fail(ErrorCode::unsupported, "Classifier", "this model classifies images; want image files");
  return impl_->classify(
      impl_->tokenizer->encode(texts, {.max_length = std::max<std::int64_t>(0, impl_->max_length)}));
}

std::vector<Classified> Classifier::pairs(
    const std::vector<std::pair<std::string, std::string>>& pairs) const {
  if (takes_images())
    fail(ErrorCode::unsupported, "Classifier", "this model classifies images; want image files");
  std::vector<text::Encoding> encoded;
  for (const auto& [first, second] : pairs) {
    text::EncodeOptions options{.max_length = std::max<std::int64_t>(0, impl_->max_length)};
    options.pair = second;
    encoded.push_back(impl_->tokenizer->encode(first, options));
  }
  return impl_->classify(encoded);
}

std::vector<Classified> Classifier::images(const std::vector<std::filesystem::path>& files) const {
  if (!takes_images()) fail(ErrorCode::unsupported, "Classifier", "this model classifies text; want texts");
  const NoGrad no_grad;
  std::vector<Classified> out;
  for (const std::filesystem::path& file : files) {
    const Tensor pixels = (*impl_->images)(io::read_image(file));
    const Tensor batch = reshape(pixels, {1, pixels.size(0), pixels.size(1), pixels.size(2)});
    out.push_back(
        impl_->row(softmax(cast(impl_->model.encoder()->scores({.images = batch}), DType::float32)), 0));
  }
  return out;
}

std::vector<Classified> classify_by_examples(const Generator& model, const std::vector<Shot>& shots,
                                             const std::vector<std::string>& texts) {
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
  std::vector<Classified> out;
  for (const std::string& text : texts) {
    const auto scored = model.score_endings(fmt::format("{}Text: {}\nLabel:", examples, text), endings);
    std::vector<double> weights;
    double largest = -INFINITY, total = 0;
    for (const Generator::Ending& ending : scored) {
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
