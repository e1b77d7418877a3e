#include <headway/jobs/translator.h>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <headway/core/quote.h>

#include "jobs/model_text.h"
#include "text/utf8.h"

namespace headway::inline v1::jobs {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const hub::HubModel& model, std::string_view what,
                         ErrorCode code = ErrorCode::unsupported) {
  fail(code, "Translator", fmt::format("{} is a {}, {}", model.path().string(), model.model_type(), what));
}

json tasks_of(const hub::HubModel& model) {
  const json config = json::parse(model.config());
  const auto found = config.find("task_specific_params");
  return found != config.end() && found->is_object() ? *found : json::object();
}

// The settings of the chosen task; an empty object where the model has none.
json task_of(const hub::HubModel& model, std::string_view name) {
  const json tasks = tasks_of(model);
  std::vector<std::string> translations;
  for (const auto& [task, settings] : tasks.items()) {
    if (task == name) return settings.is_object() ? settings : json::object();
    if (task.starts_with("translation")) translations.push_back(task);
  }
  const std::string wanted =
      translations.empty() ? "no task" : fmt::format("{}", fmt::join(translations, ", "));
  if (!name.empty())
    refuse(model, fmt::format("which has no task {}; want {}", quoted(name), wanted), ErrorCode::value);
  if (!translations.empty())
    refuse(model, fmt::format("which translates by task; want one of {}", wanted), ErrorCode::value);
  return json::object();
}

template <typename T>
std::optional<T> number(const json& settings, const char* name) {
  const auto found = settings.find(name);
  return found != settings.end() && found->is_number() ? std::optional(found->get<T>()) : std::nullopt;
}

models::DecodingOptions defaults_of(const hub::HubModel& model, const text::HubTokenizer& tokenizer,
                                    const json& task) {
  const hub::GenerationDefaults& files = model.generation();
  const std::vector<std::int32_t>& ends = files.end.empty() ? tokenizer.end_ids() : files.end;
  if (!files.decoder_start) refuse(model, "whose files have no decoder_start_token_id", ErrorCode::format);
  if (files.forced_begin) {
    refuse(model, fmt::format("whose forced_bos_token_id is {}; want a model whose texts begin freely",
                              *files.forced_begin));
  }
  if (ends.size() != 1) refuse(model, fmt::format("with {} end tokens; want one", ends.size()));
  models::DecodingOptions out;
  out.bos = *files.decoder_start;
  out.eos = ends.front();
  out.suppress = files.suppressed;
  out.beam_size = number<std::int64_t>(task, "num_beams").value_or(files.beams.value_or(4));
  out.length_penalty = number<double>(task, "length_penalty").value_or(files.length_penalty.value_or(1));
  const std::int64_t length =
      number<std::int64_t>(task, "max_length").value_or(files.max_length.value_or(out.max_length));
  if (out.beam_size < 1 || length < 2)
    refuse(
        model,
        fmt::format("whose num_beams is {} and max_length {}; want 1 and 2, or more", out.beam_size, length),
        ErrorCode::format);
  out.max_length = length - 1;  // theirs counts the start token
  return out;
}

}  // namespace

struct Translator::Impl {
  TextModel loaded;
  std::string prefix;
  models::DecodingOptions defaults;

  models::LanguageModel& language_model() const { return *loaded.model->language_model(); }
};

Translator::Translator(const std::string& spec, std::string_view task, const hub::LoadOptions& options)
    : impl_(new Impl{load_text_model(spec, options), {}, {}}) {
  const hub::HubModel& model = *impl_->loaded.model;
  if (!model.language_model() || !model.language_model()->has_encoder())
    refuse(model, "which translates nothing; want an encoder–decoder: Marian or T5");
  const json settings = task_of(model, task);
  const auto prefix = settings.find("prefix");
  if (prefix != settings.end() && prefix->is_string()) impl_->prefix = prefix->get<std::string>();
  impl_->defaults = defaults_of(model, impl_->loaded.tokenizer, settings);
}
Translator::~Translator() = default;
Translator::Translator(Translator&&) noexcept = default;
Translator& Translator::operator=(Translator&&) noexcept = default;
const hub::HubModel& Translator::model() const { return *impl_->loaded.model; }
const models::DecodingOptions& Translator::defaults() const { return impl_->defaults; }

std::vector<std::string> Translator::tasks(const hub::HubModel& model) {
  const json tasks = tasks_of(model);
  std::vector<std::string> out;
  for (const auto& [task, settings] : tasks.items()) out.push_back(task);
  return out;
}

std::vector<std::int32_t> Translator::source_ids(const std::string& sentence, std::string_view where) const {
  if (text::find_invalid_utf8(sentence)) text::require_utf8(sentence, "translate", where);
  const text::HubTokenizer& tokenizer = impl_->loaded.tokenizer;
  if (tokenizer.encode(sentence, {.add_special_tokens = false, .max_length = 0}).ids.empty()) return {};
  std::vector<std::int32_t> ids = tokenizer.encode(impl_->prefix + sentence, {.max_length = 0}).ids;
  const std::int64_t most = impl_->language_model().max_length();
  if (most > 0 && static_cast<std::int64_t>(ids.size()) > most) {
    fail(ErrorCode::value, "translate",
         fmt::format("{} has {} tokens ({}); the model takes {}", where, ids.size(), quoted(sentence, 40),
                     most));
  }
  return ids;
}

std::vector<std::vector<text::Translation>> Translator::translations(
    const std::vector<std::vector<std::int32_t>>& sources, const models::DecodingOptions& options) const {
  std::vector<std::vector<text::Translation>> out;
  for (const auto& hypotheses : models::decode(impl_->language_model(), sources, options)) {
    out.emplace_back();
    for (const models::Hypothesis& h : hypotheses)
      out.back().push_back({impl_->loaded.tokenizer.decode(h.tokens), h.score, h.log_probability});
  }
  return out;
}

std::vector<std::string> Translator::translate(const std::vector<std::string>& sentences) const {
  std::vector<std::vector<std::int32_t>> sources;
  for (std::size_t i = 0; i < sentences.size(); ++i)
    sources.push_back(source_ids(sentences[i], fmt::format("sentence {}", i + 1)));
  std::vector<std::string> out;
  for (auto& best_first : translations(sources, defaults()))
    out.push_back(std::move(best_first.front().text));
  return out;
}

}  // namespace headway::inline v1::jobs
