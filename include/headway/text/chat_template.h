#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <headway/core/export.h>
#include <headway/text/hub_tokenizer.h>

namespace headway::inline v1::text {

enum class ChatRole { system, user, assistant };
HEADWAY_API std::string_view name_of(ChatRole role);

struct ChatMessage {
  ChatRole role = ChatRole::user;
  std::string content;
};

/// How models were taught to read a conversation. A model's own template is a program in Jinja; these are the
/// ones known, told by what is characteristic of their text.
enum class ChatFormat {
  chatml,      ///< <|im_start|>role … <|im_end|> (Qwen, SmolLM, Yi …)
  llama2,      ///< [INST] <<SYS>> … [/INST]
  llama3,      ///< <|start_header_id|>role<|end_header_id|> … <|eot_id|>
  mistral_v1,  ///< [INST] … [/INST], with blanks; the system prompt stands before the last user turn
  mistral_v3,  ///< [INST] …[/INST], the blank after it gone
  gemma,   ///< <start_of_turn>user … <end_of_turn>; no system role: it stands before the first user turn
  zephyr,  ///< <|user|> … </s> (Zephyr, TinyLlama)
};
HEADWAY_API std::string_view name_of(ChatFormat format);

class HEADWAY_API ChatTemplate {
 public:
  /// Which format a Jinja template renders; Error(unsupported) that shows its beginning for one that is not
  /// known. `tokenizer` gives the begin and end tokens that templates name.
  static ChatTemplate detect(std::string_view jinja, const HubTokenizer& tokenizer);

  ChatFormat format() const { return format_; }
  /// The system prompt that the template puts before a conversation that has none; "" where it puts none.
  const std::string& default_system() const { return default_system_; }

  /// The text that the template gives, begin token included. Error(value) for what templates raise exceptions
  /// on: a system message that is not first, roles that do not alternate where the format wants it.
  std::string render(const std::vector<ChatMessage>& messages, bool add_generation_prompt = true) const;
  /// render(), cut in tokens: special tokens in the template's own text count as such, and no second begin
  /// token is put before it.
  std::vector<std::int32_t> encode(const HubTokenizer& tokenizer, const std::vector<ChatMessage>& messages,
                                   bool add_generation_prompt = true) const;

  /// What ends a turn: "<|im_end|>", "<|eot_id|>", "</s>" …
  const std::string& end_of_turn() const { return end_of_turn_; }
  /// Ids at which a reply is over: `configured` (generation_config.json's eos_token_id), the tokenizer's own,
  /// and the template's end of turn; each once.
  std::vector<std::int32_t> end_ids(const HubTokenizer& tokenizer,
                                    const std::vector<std::int32_t>& configured = {}) const;

 private:
  std::string turns(const std::vector<ChatMessage>& messages, bool generate) const;
  std::string instructions(const std::vector<ChatMessage>& turns, const std::string& system) const;

  ChatFormat format_ = ChatFormat::chatml;
  std::string bos_, eos_;
  std::string default_system_;
  std::string end_of_turn_;
  bool begins_with_bos_ = false;
  bool trims_ = false;      // blanks around contents go
  bool reasoning_ = false;  // Qwen3: a reply's reasoning is kept after the last question alone
  // Llama 2 and Mistral: what stands around the turns.
  std::string open_, close_, before_reply_, after_reply_;
  std::string before_system_;  // Llama 3.1 and later
};

}  // namespace headway::inline v1::text
