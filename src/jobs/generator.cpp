#include <headway/jobs/generator.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "jobs/generator_impl.h"

namespace headway::inline v1::jobs {
namespace {

// The text of one prompt as it is written: what could be the beginning of a stop word is held back.
class Writer {
 public:
  Writer(const text::HubTokenizer& tokenizer, const std::vector<std::string>& stop)
      : decoder_(tokenizer), stop_(stop) {}

  // The piece that may be shown now; stopped() afterwards tells whether a stop word was met.
  std::string push(std::int32_t token) { return release(decoder_.push(token), false); }
  std::string finish() { return stopped_ ? std::string() : release(decoder_.finish(), true); }
  bool stopped() const { return stopped_; }
  // What is held back is not the text's.
  void stop() { stopped_ = true; }
  const std::string& text() const { return shown_; }

 private:
  std::string release(const std::string& piece, bool all) {
    held_ += piece;
    std::size_t end = held_.size();
    for (const std::string& word : stop_) {
      const std::size_t at = held_.find(word);
      if (at != std::string::npos) {
        stopped_ = true;
        end = std::min(end, at);
      }
    }
    if (!stopped_ && !all) {
      for (const std::string& word : stop_) {
        for (std::size_t length = std::min(word.size() - 1, held_.size()); length > 0; --length) {
          if (held_.compare(held_.size() - length, length, word, 0, length) != 0) continue;
          end = std::min(end, held_.size() - length);
          break;
        }
      }
    }
    std::string out = held_.substr(0, end);
    held_.erase(0, end);
    shown_ += out;
    return out;
  }
  text::StreamDecoder decoder_;
  const std::vector<std::string>& stop_;
  std::string held_, shown_;
  bool stopped_ = false;
};

void add_missing(std::vector<std::int32_t>& to, const std::vector<std::int32_t>& from) {
  for (const std::int32_t token : from) {
    if (std::find(to.begin(), to.end(), token) == to.end()) to.push_back(token);
  }
}

}  // namespace

Generator::Generator(const std::string& spec, const hub::LoadOptions& options)
    : Generator(std::make_shared<const hub::HubModel>(hub::HubModel::load(spec, options))) {}

Generator::Generator(std::shared_ptr<const hub::HubModel> model) {
  if (!model->language_model()) {
    fail(ErrorCode::unsupported, "Generator",
         fmt::format("{} is a {}, which writes no text; want a decoder or an encoder–decoder",
                     model->path().string(), model->model_type()));
  }
  impl_.reset(new Impl{text_model(std::move(model))});
}
Generator::~Generator() = default;
Generator::Generator(Generator&&) noexcept = default;
Generator& Generator::operator=(Generator&&) noexcept = default;
const hub::HubModel& Generator::model() const { return *impl_->loaded.model; }

models::GenerationOptions Generator::defaults() const {
  const hub::GenerationDefaults& of = impl_->loaded.model->generation();
  models::GenerationOptions out;
  out.suppress = of.suppressed;
  out.repetition_penalty = of.repetition_penalty.value_or(1);
  if (of.sampling) {
    out.sampling = models::Sampling{.temperature = of.temperature.value_or(1),
                                    .top_k = of.top_k.value_or(50),
                                    .top_p = of.top_p.value_or(1)};
  }
  return out;
}

WriteOptions Generator::options(const WriteChoices& choices) const {
  WriteOptions out{.generation = defaults(), .stop = choices.stop};
  models::GenerationOptions& how = out.generation;
  if (choices.max_tokens) how.max_new_tokens = *choices.max_tokens;
  if (choices.repetition_penalty) how.repetition_penalty = *choices.repetition_penalty;
  if (choices.presence_penalty) how.presence_penalty = *choices.presence_penalty;
  const bool draws = choices.top_k || choices.top_p || choices.min_p;
  if (choices.temperature && *choices.temperature == 0) {
    if (draws)
      fail(ErrorCode::value, "Generator",
           "temperature is 0, the most probable token, beside top_k, top_p or min_p, which draw; want one of "
           "them");
    how.sampling.reset();
  } else if (choices.temperature || draws) {
    models::Sampling sampling = how.sampling.value_or(models::Sampling{});
    if (choices.temperature) sampling.temperature = *choices.temperature;
    if (choices.top_k) sampling.top_k = *choices.top_k;
    if (choices.top_p) sampling.top_p = *choices.top_p;
    if (choices.min_p) sampling.min_p = *choices.min_p;
    how.sampling = sampling;
  }
  if (how.sampling) how.sampling->seed = choices.seed;
  return out;
}

std::vector<std::string> Generator::Impl::write(const std::vector<std::vector<std::int32_t>>& prompts,
                                                const WriteOptions& options, const OnText& on_text,
                                                models::KeptText* kept) const {
  const hub::GenerationDefaults& files = loaded.model->generation();
  models::GenerationOptions how = options.generation;
  add_missing(how.end, files.end);
  add_missing(how.end, loaded.tokenizer.end_ids());
  for (const std::string& word : options.stop) {
    if (word.empty()) fail(ErrorCode::value, "Generator", "a stop word is empty; want text");
  }
  std::vector<std::int32_t> begin;
  if (language_model().has_encoder()) {
    if (!files.decoder_start)
      fail(ErrorCode::format, "Generator", "the model's files have no decoder_start_token_id");
    begin.push_back(*files.decoder_start);
    if (files.forced_begin) begin.push_back(*files.forced_begin);
    add_missing(how.suppress, files.suppressed);
  }
  std::vector<Writer> writers;
  for (std::size_t i = 0; i < prompts.size(); ++i) writers.emplace_back(loaded.tokenizer, options.stop);
  const auto on_token = [&](std::size_t text, std::int32_t token) {
    const std::string piece = writers[text].push(token);
    if (!piece.empty() && on_text && !on_text(text, piece)) writers[text].stop();
    return !writers[text].stopped();
  };
  if (kept) {
    models::generate(language_model(), prompts.front(), how, on_token, *kept);
  } else {
    models::generate(language_model(), prompts, how, on_token, begin);
  }
  std::vector<std::string> out;
  for (std::size_t i = 0; i < writers.size(); ++i) {
    const std::string rest = writers[i].finish();
    if (!rest.empty() && on_text) on_text(i, rest);
    out.push_back(writers[i].text());
  }
  return out;
}

std::vector<std::string> Generator::operator()(const std::vector<std::string>& prompts,
                                               const WriteOptions& options, const OnText& on_text) const {
  std::vector<std::vector<std::int32_t>> ids;
  for (const text::Encoding& encoding : impl_->loaded.tokenizer.encode(prompts, {.max_length = 0})) {
    ids.push_back(encoding.ids);
    if (ids.back().empty() && impl_->loaded.model->generation().begin)
      ids.back().push_back(*impl_->loaded.model->generation().begin);
  }
  return impl_->write(ids, options, on_text);
}

std::string Generator::operator()(const std::string& prompt, const WriteOptions& options,
                                  const OnText& on_text) const {
  return (*this)(std::vector<std::string>{prompt}, options, on_text).front();
}

Perplexity Generator::perplexity(const std::string& text, std::int64_t context, std::int64_t stride,
                                 const OnProgress& on_progress) const {
  models::LanguageModel& model = impl_->language_model();
  if (model.has_encoder())
    fail(ErrorCode::unsupported, "perplexity",
         "an encoder–decoder foresees no text by itself; want a decoder");
  const text::Encoding encoding = impl_->loaded.tokenizer.encode(text, {.max_length = 0});
  const std::vector<std::int32_t>& ids = encoding.ids;
  const std::int64_t limit = model.max_length() > 0 ? model.max_length() : 4096;
  if (context == 0) context = limit;
  if (stride == 0) stride = std::max<std::int64_t>(1, context / 2);
  if (context < 2 || (model.max_length() > 0 && context > model.max_length()) || stride < 1 ||
      stride >= context) {
    fail(ErrorCode::value, "perplexity",
         fmt::format("context is {} and stride {}; want a context of 2 to {} and a stride below it", context,
                     stride, limit));
  }
  if (ids.size() < 2)
    fail(ErrorCode::value, "perplexity", "the text has fewer than two tokens; want more text");
  // Where the tokenizer puts no begin token before a text, its first token has nothing to be foreseen from.
  Perplexity out{.bytes = static_cast<std::int64_t>(text.size() - encoding.offsets.front().end)};
  double sum = 0;
  const auto count = static_cast<std::int64_t>(ids.size());
  std::int64_t scored = 1;  // the first token is given
  for (std::int64_t begin = 0; scored < count; begin += stride) {
    const std::int64_t end = std::min(count, begin + context);
    const std::vector<float> log_p = models::token_log_probabilities(
        model, models::pack({std::vector<std::int32_t>(ids.begin() + begin, ids.begin() + end)}));
    for (; scored < end; ++scored) {
      sum += static_cast<double>(log_p[static_cast<std::size_t>(scored - begin)]);
      ++out.tokens;
    }
    if (on_progress) on_progress(scored, count);
  }
  out.loss = -sum / static_cast<double>(out.tokens);
  out.perplexity = std::exp(out.loss);
  out.bits_per_byte = -sum / std::log(2.0) / static_cast<double>(std::max<std::int64_t>(1, out.bytes));
  return out;
}

}  // namespace headway::inline v1::jobs
