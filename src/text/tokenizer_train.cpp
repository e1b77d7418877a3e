#include <fmt/format.h>
#include <sentencepiece_trainer.h>

#include <charconv>
#include <unordered_map>

#include <headway/core/error.h>

#include "text/file.h"
#include "text/lines.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string>& sentences) : sentences_(sentences) {}
  bool done() const override { return at_ == sentences_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return sentences_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& sentences_;
  std::size_t at_ = 0;
};

// The number after `mark`, or -1.
int number_after(std::string_view message, std::string_view mark) {
  const std::size_t found = message.find(mark);
  if (found == std::string_view::npos) return -1;
  const std::string_view rest = message.substr(found + mark.size());
  int number = -1;
  std::from_chars(rest.data(), rest.data() + rest.size(), number);
  return number;
}

[[noreturn]] void explain(std::string_view message, const TokenizerOptions& options) {
  // SentencePiece 0.1.97: "Vocabulary size too high (900). Please set it to a value <= 42." and
  // "Vocabulary size is smaller than required_chars. 10 vs 42." (the latter counts without its own specials).
  if (const int most = number_after(message, "value <= "); most > 0) {
    fail(ErrorCode::value, "train tokenizer",
         fmt::format("vocab_size is {}, the sentences give {} pieces; want at most {}", options.vocab_size,
                     most, most));
  }
  if (const int least = number_after(message, " vs "); least > 0) {
    fail(ErrorCode::value, "train tokenizer",
         fmt::format("vocab_size is {}, characters and special tokens alone need {}; want more, or a lower "
                     "character_coverage (now {})",
                     options.vocab_size, least, options.character_coverage));
  }
  fail(ErrorCode::value, "train tokenizer", message);
}

constexpr int kMaxSentenceBytes = 1 << 20;

// Something that is left when blanks and what cannot be seen are gone, as NFKC of SentencePiece removes them.
bool has_text(std::string_view sentence) {
  for (std::size_t at = 0; at < sentence.size();) {
    const char32_t c = next_code_point(sentence, at);
    if (!is_space(c) && !is_ignorable(c) && !is_invisible(c)) return true;
  }
  return false;
}

void check(const std::vector<std::string>& sentences, const TokenizerOptions& options) {
  const bool counts_itself =
      options.type == TokenizerType::characters || options.type == TokenizerType::words;
  const int smallest = options.byte_fallback ? 261 : 5;
  if (options.vocab_size < smallest && !(options.vocab_size == 0 && counts_itself)) {
    fail(ErrorCode::value, "train tokenizer",
         fmt::format("vocab_size is {}; want at least {}{}", options.vocab_size, smallest,
                     counts_itself ? ", or 0 for all that occur" : ""));
  }
  if (!(options.character_coverage > 0 && options.character_coverage <= 1)) {
    fail(ErrorCode::value, "train tokenizer",
         fmt::format("character_coverage is {}; want above 0, at most 1", options.character_coverage));
  }
  bool any = false;
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    if (find_invalid_utf8(sentences[i]))
      require_utf8(sentences[i], "train tokenizer", fmt::format("sentence {}", i));
    if (sentences[i].find('\0') != std::string::npos) {
      fail(ErrorCode::format, "train tokenizer", fmt::format("sentence {} has a NUL; want text", i));
    }
    if (sentences[i].size() > kMaxSentenceBytes) {
      fail(
          ErrorCode::value, "train tokenizer",
          fmt::format("sentence {} is {} bytes; want at most {}", i, sentences[i].size(), kMaxSentenceBytes));
    }
    any = any || has_text(sentences[i]);
  }
  if (!any)
    fail(ErrorCode::value, "train tokenizer",
         "there is no text in the sentences, only blanks and invisible characters; want some");
}

}  // namespace

Tokenizer Tokenizer::train(const std::vector<std::string>& sentences, const TokenizerOptions& options) {
  check(sentences, options);
  const bool all = options.vocab_size == 0;
  const std::unordered_map<std::string, std::string> arguments{
      {"minloglevel", "3"},
      {"model_type", std::string(name_of(options.type))},
      {"vocab_size", std::to_string(all ? 1'000'000 : options.vocab_size)},
      {"hard_vocab_limit", all ? "false" : "true"},
      {"use_all_vocab", all ? "true" : "false"},
      {"num_threads", "1"},
      {"pad_id", std::to_string(kPad)},
      {"bos_id", std::to_string(kBos)},
      {"eos_id", std::to_string(kEos)},
      {"unk_id", std::to_string(kUnknown)},
      {"character_coverage", fmt::format("{}", options.character_coverage)},
      {"byte_fallback", options.byte_fallback ? "true" : "false"},
      {"max_sentence_length", std::to_string(kMaxSentenceBytes)},
      {"normalization_rule_name",
       options.normalization == TokenizerNormalization::nfkc ? "nmt_nfkc" : "identity"},
  };
  std::vector<std::string> prepared;
  prepared.reserve(sentences.size());
  for (const std::string& sentence : sentences) prepared.push_back(escaped(plain_blanks(sentence)));
  Sentences iterator(prepared);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &iterator, &model);
  if (!status.ok()) explain(status.message(), options);
  return from_bytes(seal(with_escape_mark(std::move(model))));
}

Tokenizer Tokenizer::train_on_files(const std::vector<std::filesystem::path>& files,
                                    const TokenizerOptions& options) {
  std::vector<std::string> sentences;
  for (const auto& file : files) {
    for (std::string& line : read_lines(file, "train tokenizer", kMaxSentenceBytes)) {
      sentences.push_back(std::move(line));
    }
  }
  return train(sentences, options);
}

}  // namespace headway::inline v1::text
