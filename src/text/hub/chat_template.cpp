#include <headway/text/chat_template.h>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include <headway/core/error.h>
#include <headway/core/quote.h>

#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

constexpr std::string_view kOperation = "ChatTemplate";

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// As Python's strip(): white space at both ends.
std::string stripped(std::string_view text) {
  std::size_t begin = text.size();
  std::size_t end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t from = at;
    if (is_space(next_code_point(text, at))) continue;
    begin = std::min(begin, from);
    end = at;
  }
  return begin >= end ? std::string() : std::string(text.substr(begin, end - begin));
}

std::string without_line_feeds(std::string_view text, bool left, bool right) {
  while (left && text.starts_with('\n')) text.remove_prefix(1);
  while (right && text.ends_with('\n')) text.remove_suffix(1);
  return std::string(text);
}

// The literal text between `open` and `close`, where nothing but text stands there.
std::string literal_between(std::string_view jinja, std::string_view open, std::string_view close) {
  for (std::size_t at = jinja.find(open); at != std::string_view::npos; at = jinja.find(open, at + 1)) {
    const std::string_view rest = jinja.substr(at + open.size());
    const std::string_view inside = rest.substr(0, rest.find(close));
    if (!inside.empty() && inside.size() < rest.size() &&
        inside.find_first_of("'\"{}") == std::string_view::npos) {
      return std::string(inside);
    }
  }
  return "";
}

std::string token_or(const HubTokenizer& tokenizer, const std::optional<std::int32_t>& id) {
  return id ? tokenizer.token(*id) : std::string();
}

[[noreturn]] void refuse(std::string_view message) { fail(ErrorCode::value, kOperation, message); }

// Mistral and Llama 2 want user and assistant in turn, the user first.
void check_alternation(const std::vector<ChatMessage>& turns) {
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const ChatRole wanted = i % 2 == 0 ? ChatRole::user : ChatRole::assistant;
    if (turns[i].role == wanted) continue;
    refuse(fmt::format("turn {} is of the {}; want user and assistant in turn, the user first", i,
                       name_of(turns[i].role)));
  }
}

}  // namespace

std::string_view name_of(ChatRole role) {
  return role == ChatRole::system ? "system" : role == ChatRole::user ? "user" : "assistant";
}

std::string_view name_of(ChatFormat format) {
  switch (format) {
    case ChatFormat::chatml:
      return "ChatML";
    case ChatFormat::llama2:
      return "Llama 2";
    case ChatFormat::llama3:
      return "Llama 3";
    case ChatFormat::mistral_v1:
      return "Mistral v1";
    case ChatFormat::mistral_v3:
      return "Mistral v3";
    case ChatFormat::gemma:
      return "Gemma";
    case ChatFormat::zephyr:
      return "Zephyr";
  }
  return "";
}

ChatTemplate ChatTemplate::detect(std::string_view jinja, const HubTokenizer& tokenizer) {
  ChatTemplate made;
  made.bos_ = token_or(tokenizer, tokenizer.special_tokens().bos);
  made.eos_ = token_or(tokenizer, tokenizer.special_tokens().eos);
  made.begins_with_bos_ = has(jinja, "bos_token");
  made.trims_ = has(jinja, "| trim") || has(jinja, "|trim") || has(jinja, ".strip()");
  made.end_of_turn_ = made.eos_;
  // Templates in JSON have \n as two characters, those in a file of their own may have the line feed itself.
  if (has(jinja, "<|im_start|>") && has(jinja, "<|im_end|>")) {
    made.format_ = ChatFormat::chatml;
    made.end_of_turn_ = "<|im_end|>";
    made.reasoning_ = has(jinja, "</think>") && has(jinja, "last_query_index");
    made.trims_ = made.trims_ && !made.reasoning_;
    made.default_system_ = literal_between(jinja, "<|im_start|>system\\n", "<|im_end|>");
    if (made.default_system_.empty())
      made.default_system_ = literal_between(jinja, "<|im_start|>system\n", "<|im_end|>");
  } else if (has(jinja, "<|start_header_id|>") && has(jinja, "<|eot_id|>")) {
    made.format_ = ChatFormat::llama3;
    made.end_of_turn_ = "<|eot_id|>";
    if (has(jinja, "Cutting Knowledge Date: December 2023")) {
      made.before_system_ = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
    }
  } else if (has(jinja, "[INST]") && has(jinja, "<<SYS>>")) {
    made.format_ = ChatFormat::llama2;
    made.open_ = "[INST] ";
    made.close_ = " [/INST]";
    made.before_reply_ = std::string(1, ' ');
    made.trims_ = true;
  } else if (has(jinja, "[INST]") && has(jinja, "[/INST]")) {
    const bool blank_before = has(jinja, " [/INST]");
    const std::string blank(1, ' ');
    const std::string none;
    made.format_ = blank_before ? ChatFormat::mistral_v1 : ChatFormat::mistral_v3;
    made.open_ = has(jinja, "[INST] ") ? "[INST] " : "[INST]";
    made.close_ = blank_before ? " [/INST]" : "[/INST]";
    made.before_reply_ = has(jinja, "\" \" + message") || has(jinja, "' ' + message") ? blank : none;
    made.after_reply_ = has(jinja, "eos_token + ' '") || has(jinja, "eos_token + \" \"") ? blank : none;
  } else if (has(jinja, "<start_of_turn>") && has(jinja, "<end_of_turn>")) {
    made.format_ = ChatFormat::gemma;
    made.end_of_turn_ = "<end_of_turn>";
  } else if (has(jinja, "<|user|>") && has(jinja, "<|assistant|>") && has(jinja, "eos_token") &&
             !has(jinja, "<|end|>")) {
    made.format_ = ChatFormat::zephyr;
  } else {
    fail(ErrorCode::unsupported, kOperation,
         fmt::format("this chat template is not known: {}; want ChatML, Llama, Mistral, Gemma or Zephyr",
                     quoted(jinja, 200)));
  }
  return made;
}

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages, bool add_generation_prompt) const {
  std::vector<ChatMessage> rest = messages;
  std::string system = default_system_;
  bool has_system = !default_system_.empty();
  if (!rest.empty() && rest.front().role == ChatRole::system) {
    system = rest.front().content;
    has_system = true;
    rest.erase(rest.begin());
  }
  if (format_ != ChatFormat::chatml && format_ != ChatFormat::zephyr && format_ != ChatFormat::llama3) {
    for (const ChatMessage& message : rest) {
      if (message.role == ChatRole::system)
        refuse("a system message stands within the conversation; want it first");
    }
    check_alternation(rest);
  }
  const std::string begin = begins_with_bos_ ? bos_ : std::string();
  if (format_ == ChatFormat::llama2)
    return instructions(rest, has_system ? fmt::format("<<SYS>>\n{}\n<</SYS>>\n\n", system) : "");
  if (format_ == ChatFormat::mistral_v1 || format_ == ChatFormat::mistral_v3) {
    return begin + instructions(rest, has_system ? fmt::format("{}\n\n", system) : "");
  }
  if (format_ == ChatFormat::gemma) {
    if (has_system && !rest.empty())
      rest.front().content = fmt::format("{}\n\n{}", system, stripped(rest.front().content));
  } else if (format_ == ChatFormat::llama3 && !before_system_.empty()) {
    const std::string given = has_system ? stripped(system) : std::string();
    return fmt::format("{}<|start_header_id|>system<|end_header_id|>\n\n{}{}<|eot_id|>{}", begin,
                       before_system_, given, turns(rest, add_generation_prompt));
  } else if (has_system) {
    rest.insert(rest.begin(), {ChatRole::system, system});
  }
  return begin + turns(rest, add_generation_prompt);
}

// Llama 2 and Mistral. A system prompt stands in the first turn (Llama 2), or in the last (Mistral).
std::string ChatTemplate::instructions(const std::vector<ChatMessage>& turns,
                                       const std::string& system) const {
  const bool llama = format_ == ChatFormat::llama2;
  std::string out;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    std::string content = turns[i].content;
    if (turns[i].role == ChatRole::user) {
      if (i == (llama ? 0 : turns.size() - 1)) content = system + content;
      if (llama) content = stripped(content);
      if (llama && begins_with_bos_) out += bos_;
      out += open_ + content + close_;
    } else {
      if (trims_) content = stripped(content);
      out += before_reply_ + content;
      if (llama) out.push_back(' ');
      out += eos_ + after_reply_;
    }
  }
  return out;
}

std::string ChatTemplate::turns(const std::vector<ChatMessage>& messages, bool generate) const {
  std::string out;
  std::size_t last_question = 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == ChatRole::user) last_question = i;
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    std::string content = trims_ ? stripped(message.content) : message.content;
    const std::string role(name_of(message.role));
    switch (format_) {
      case ChatFormat::chatml:
        if (reasoning_ && message.role == ChatRole::assistant) {
          const std::size_t end = content.rfind("</think>");
          std::string thought;
          if (end != std::string::npos) {
            const std::size_t begin = content.rfind("<think>", end);
            const std::size_t from = begin == std::string::npos ? 0 : begin + 7;
            thought = without_line_feeds(std::string_view(content).substr(from, end - from), true, true);
            content = without_line_feeds(std::string_view(content).substr(end + 8), true, false);
          }
          if (i > last_question && (i + 1 == messages.size() || !thought.empty())) {
            content =
                fmt::format("<think>\n{}\n</think>\n\n{}", thought, without_line_feeds(content, true, false));
          }
        }
        out += fmt::format("<|im_start|>{}\n{}<|im_end|>\n", role, content);
        break;
      case ChatFormat::llama3:
        out += fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>", role, content);
        break;
      case ChatFormat::gemma:
        out += fmt::format("<start_of_turn>{}\n{}<end_of_turn>\n",
                           message.role == ChatRole::assistant ? "model" : role, content);
        break;
      default:
        out += fmt::format("<|{}|>\n{}{}\n", role, content, eos_);
        break;
    }
  }
  if (!generate) return out;
  switch (format_) {
    case ChatFormat::chatml:
      out += "<|im_start|>assistant\n";
      break;
    case ChatFormat::llama3:
      out += "<|start_header_id|>assistant<|end_header_id|>\n\n";
      break;
    case ChatFormat::gemma:
      out += "<start_of_turn>model\n";
      break;
    default:
      out += "<|assistant|>\n";
      break;
  }
  return out;
}

std::vector<std::int32_t> ChatTemplate::encode(const HubTokenizer& tokenizer,
                                               const std::vector<ChatMessage>& messages,
                                               bool add_generation_prompt) const {
  EncodeOptions options;
  options.add_special_tokens = false;
  options.max_length = 0;
  std::vector<std::int32_t> ids = tokenizer.encode(render(messages, add_generation_prompt), options).ids;
  const auto bos = tokenizer.special_tokens().bos;
  if (tokenizer.adds_bos() && bos && (ids.empty() || ids.front() != *bos)) ids.insert(ids.begin(), *bos);
  return ids;
}

std::vector<std::int32_t> ChatTemplate::end_ids(const HubTokenizer& tokenizer,
                                                const std::vector<std::int32_t>& configured) const {
  std::vector<std::int32_t> ids;
  const auto add = [&](std::int32_t id) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  for (const std::int32_t id : configured) add(id);
  for (const std::int32_t id : tokenizer.end_ids()) add(id);
  if (const auto id = tokenizer.id(end_of_turn_)) add(*id);
  return ids;
}

}  // namespace headway::inline v1::text
