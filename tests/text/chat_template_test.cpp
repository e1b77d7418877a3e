#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <headway/text/chat_template.h>

#include "text/expect_error.h"

namespace headway::text {
namespace {

HubTokenizer tokenizer_with(const std::string& bos, const std::string& eos) {
  GgufVocabulary gguf;
  gguf.model = "llama";
  gguf.tokens = {"<unk>", bos, eos, "<|im_end|>", "\u2581", "a"};
  gguf.scores = {0, 0, 0, 0, -1, -2};
  gguf.types = {2, 3, 3, 3, 1, 1};
  gguf.unknown = 0;
  gguf.bos = 1;
  gguf.eos = 2;
  return HubTokenizer::from_gguf(gguf);
}

const std::vector<ChatMessage> kTalk = {{ChatRole::system, "Be brief."},
                                        {ChatRole::user, "Hi"},
                                        {ChatRole::assistant, "Yes?"},
                                        {ChatRole::user, "Go"}};

TEST(ChatTemplate, chatml_puts_the_models_own_system_prompt_where_there_is_none) {
  const auto tokenizer = tokenizer_with("<s>", "</s>");
  const auto chat = ChatTemplate::detect(
      "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% "
      "endif %}"
      "{{'<|im_start|>' + message['role']}}",
      tokenizer);
  EXPECT_EQ(chat.format(), ChatFormat::chatml);
  EXPECT_EQ(chat.render({{ChatRole::user, "Hi"}}),
            "<|im_start|>system\nYou are "
            "helpful.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(chat.render(kTalk, false),
            "<|im_start|>system\nBe "
            "brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
            "<|im_start|>user\nGo<|im_end|>\n");
  EXPECT_EQ(chat.end_ids(tokenizer, {9, 2}), (std::vector<std::int32_t>{9, 2, 3}));
}

TEST(ChatTemplate, llama2_holds_the_system_prompt_in_the_first_turn_and_begins_each) {
  const auto chat = ChatTemplate::detect("{{ bos_token + '[INST] ' }} <<SYS>> {{ ' [/INST]' }}",
                                         tokenizer_with("<s>", "</s>"));
  EXPECT_EQ(chat.render(kTalk),
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Yes? </s><s>[INST] Go [/INST]");
}

TEST(ChatTemplate, gemma_puts_the_system_prompt_before_the_first_user_turn) {
  const auto chat =
      ChatTemplate::detect("{{ bos_token }}<start_of_turn> <end_of_turn>", tokenizer_with("<bos>", "<eos>"));
  EXPECT_EQ(
      chat.render(kTalk),
      "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n"
      "<start_of_turn>user\nGo<end_of_turn>\n<start_of_turn>model\n");
}

TEST(ChatTemplate, the_begin_token_is_not_doubled) {
  const auto tokenizer = tokenizer_with("<s>", "</s>");
  const auto chat = ChatTemplate::detect("{{ bos_token + '[INST] ' }} <<SYS>> {{ ' [/INST]' }}", tokenizer);
  const auto ids = chat.encode(tokenizer, {{ChatRole::user, "a"}});
  ASSERT_GE(ids.size(), 2U);
  EXPECT_EQ(ids[0], 1);
  EXPECT_NE(ids[1], 1);
}

TEST(ChatTemplate, an_unknown_template_is_shown) {
  expect_error(ErrorCode::unsupported, "{{ poem }}",
               [] { ChatTemplate::detect("{{ poem }}", tokenizer_with("<s>", "</s>")); });
  const auto llama =
      ChatTemplate::detect("{{ bos_token + '[INST] ' }} <<SYS>>", tokenizer_with("<s>", "</s>"));
  expect_error(ErrorCode::value, "in turn", [&] { llama.render({{ChatRole::assistant, "a"}}); });
}

}  // namespace
}  // namespace headway::text
