#pragma once
#include <string>
#include <vector>

#include <headway/jobs/generator.h>
#include <headway/text/chat_template.h>

namespace headway::inline v1::jobs {

/// A conversation with a model that was taught one. The format is told from the model's own template
/// (text::ChatTemplate::detect). What the model has computed of the conversation is kept: a turn costs its
/// own tokens, not those before it.
class HEADWAY_API Chat {
 public:
  /// `generator` outlives the chat. Error(unsupported) where the model's files have no template, or one that
  /// is not known.
  explicit Chat(const Generator& generator, std::string system = {});
  /// The reply to one more turn of the user. The conversation grows by both.
  std::string operator()(const std::string& message, const WriteOptions& options = {},
                         const OnText& on_text = {});
  const std::vector<text::ChatMessage>& messages() const { return messages_; }
  const text::ChatTemplate& format() const { return format_; }
  /// Tokens of the conversation so far, as the model will be given them with the next turn.
  std::size_t tokens() const;

 private:
  const Generator* generator_;
  text::ChatTemplate format_;
  std::vector<text::ChatMessage> messages_;
  models::KeptText kept_;
};

}  // namespace headway::inline v1::jobs
