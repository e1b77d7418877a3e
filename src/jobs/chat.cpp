#include <headway/jobs/chat.h>

#include <fmt/format.h>

#include "jobs/generator_impl.h"

namespace headway::inline v1::jobs {
namespace {

text::ChatTemplate template_of(const text::HubTokenizer& tokenizer, const std::string& path) {
  if (tokenizer.chat_template().empty()) {
    fail(ErrorCode::unsupported, "Chat",
         fmt::format(
             "{} has no chat template: the model was not taught to converse; want an instruction-tuned one",
             path));
  }
  return text::ChatTemplate::detect(tokenizer.chat_template(), tokenizer);
}

}  // namespace

Chat::Chat(const Generator& generator, std::string system)
    : generator_(&generator),
      format_(template_of(generator.impl_->loaded.tokenizer, generator.model().path().string())) {
  if (!system.empty()) messages_.push_back({text::ChatRole::system, std::move(system)});
}

std::string Chat::operator()(const std::string& message, const WriteOptions& options, const OnText& on_text) {
  const Generator::Impl& model = *generator_->impl_;
  std::vector<text::ChatMessage> turns = messages_;
  turns.push_back({text::ChatRole::user, message});
  WriteOptions how = options;
  how.generation.end = format_.end_ids(model.loaded.tokenizer, model.loaded.model->generation().end);
  const std::vector<std::int32_t> prompt = format_.encode(model.loaded.tokenizer, turns);
  const std::int64_t longest = model.language_model().max_length();
  if (longest > 0 && static_cast<std::int64_t>(prompt.size()) >= longest) {
    fail(ErrorCode::value, "Chat",
         fmt::format("the conversation has {} tokens; the model takes {}: begin a new one", prompt.size(),
                     longest));
  }
  models::KeptText* kept = model.language_model().has_encoder() ? nullptr : &kept_;
  std::string reply = model.write({prompt}, how, on_text, kept).front();
  turns.push_back({text::ChatRole::assistant, reply});
  messages_ = std::move(turns);
  return reply;
}

std::size_t Chat::tokens() const {
  return messages_.empty() ? 0 : format_.encode(generator_->impl_->loaded.tokenizer, messages_).size();
}

}  // namespace headway::inline v1::jobs
