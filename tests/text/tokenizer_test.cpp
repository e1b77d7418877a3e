#include <gtest/gtest.h>

#include <headway/core/parallel.h>
#include <headway/text/tokenizer.h>

#include "text/expect_error.h"
#include "text/temporary_folder.h"

namespace headway::text {
namespace {

std::vector<std::string> corpus() {
  std::vector<std::string> sentences;
  const char* nouns[] = {"cell",    "row",  "column", "Zeile", "Spalte",
                         "Tabelle", "menu", "page",   "Größe", "Öffnung"};
  const char* verbs[] = {"inserts", "deletes", "öffnet", "shows", "wählt", "formats", "prints"};
  for (const char* noun : nouns) {
    for (const char* verb : verbs) {
      for (int i = 0; i < 3; ++i) {
        sentences.push_back(std::string("It ") + verb + " the " + noun + " number " + std::to_string(i * 37) +
                            ", … ok.");
      }
    }
  }
  return sentences;
}

TEST(Tokenizer, of_every_type_gives_back_the_text_it_encoded) {
  for (const auto& [type, size] : {std::pair{TokenizerType::bpe, 120},
                                   {TokenizerType::unigram, 56},
                                   {TokenizerType::characters, 0},
                                   {TokenizerType::words, 0}}) {
    const Tokenizer tokenizer = Tokenizer::train(corpus(), {.type = type, .vocab_size = size});
    if (size != 0) {
      EXPECT_EQ(tokenizer.vocab_size(), size);
    }
    for (const std::string& sentence : corpus()) {
      const auto ids = tokenizer.encode(sentence);
      EXPECT_EQ(tokenizer.decode(ids), sentence) << name_of(type);
      for (const std::int32_t id : ids) EXPECT_GT(id, kUnknown);
    }
  }
}

TEST(Tokenizer, has_padding_begin_end_and_unknown_at_0_1_2_3) {
  const Tokenizer tokenizer = Tokenizer::train(corpus(), {.vocab_size = 120});
  EXPECT_EQ(tokenizer.piece(kPad), "<pad>");
  EXPECT_EQ(tokenizer.piece(kBos), "<s>");
  EXPECT_EQ(tokenizer.piece(kEos), "</s>");
  EXPECT_EQ(tokenizer.piece(kUnknown), "<unk>");
  EXPECT_EQ(tokenizer.decode({kBos, kPad, kEos}), "");
  EXPECT_EQ(tokenizer.encode("語").back(), kUnknown);
  EXPECT_EQ(tokenizer.id("no such piece"), kUnknown);
  EXPECT_EQ(tokenizer.id(tokenizer.piece(20)), 20);
  const auto pieces = tokenizer.encode_pieces("the cell");
  ASSERT_FALSE(pieces.empty());
  EXPECT_EQ(tokenizer.id(pieces[0]), tokenizer.encode("the cell")[0]);
}

TEST(Tokenizer, learns_the_same_pieces_whatever_the_number_of_threads) {
  const int before = threads();
  for (const TokenizerType type : {TokenizerType::bpe, TokenizerType::unigram}) {
    set_threads(1);
    const std::string one = Tokenizer::train(corpus(), {.type = type, .vocab_size = 56}).to_bytes();
    set_threads(4);
    EXPECT_EQ(Tokenizer::train(corpus(), {.type = type, .vocab_size = 56}).to_bytes(), one);
  }
  set_threads(before);
}

TEST(Tokenizer, identity_keeps_an_ellipsis_that_nfkc_spells_out) {
  const Tokenizer identity = Tokenizer::train(corpus(), {.vocab_size = 110});
  const Tokenizer nfkc =
      Tokenizer::train(corpus(), {.vocab_size = 110, .normalization = TokenizerNormalization::nfkc});
  EXPECT_EQ(identity.decode(identity.encode("ok …  the\tcell ")), "ok … the cell");
  EXPECT_EQ(nfkc.decode(nfkc.encode("ok …")), "ok ...");
}

TEST(Tokenizer, with_byte_fallback_knows_every_character) {
  const Tokenizer tokenizer = Tokenizer::train(corpus(), {.vocab_size = 400, .byte_fallback = true});
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("語 😀 cell")), "語 😀 cell");
}

TEST(Tokenizer, names_the_largest_vocabulary_that_the_text_allows_and_it_works) {
  for (const TokenizerType type : {TokenizerType::bpe, TokenizerType::unigram}) {
    try {
      Tokenizer::train(corpus(), {.type = type, .vocab_size = 50000});
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::value);
      const std::string message = error.what();
      const std::string mark = "want at most ";
      ASSERT_NE(message.find(mark), std::string::npos) << message;
      const int most = std::stoi(message.substr(message.find(mark) + mark.size()));
      EXPECT_EQ(Tokenizer::train(corpus(), {.type = type, .vocab_size = most}).vocab_size(), most);
    }
  }
  expect_error(ErrorCode::value, "want more", [] { Tokenizer::train(corpus(), {.vocab_size = 8}); });
  expect_error(ErrorCode::value, "vocab_size is 3", [] { Tokenizer::train(corpus(), {.vocab_size = 3}); });
  expect_error(ErrorCode::value, "no text", [] { Tokenizer::train({"", "  "}, {}); });
}

TEST(Tokenizer, gives_back_the_characters_that_sentencepiece_takes_for_its_own) {
  std::vector<std::string> sentences = corpus();
  const std::vector<std::string> special{
      "set a▁b here", "▁▁ ▁", "level ▂▃▄▅▆▇", "▅", "\U0010FFF0 \U0010FFF1\U0010FFF2", "\U0010FFF2▁"};
  for (int i = 0; i < 3; ++i) sentences.insert(sentences.end(), special.begin(), special.end());
  for (const TokenizerType type : {TokenizerType::bpe, TokenizerType::unigram, TokenizerType::characters}) {
    const int size = type == TokenizerType::characters ? 0 : 74;
    const Tokenizer tokenizer = Tokenizer::train(sentences, {.type = type, .vocab_size = size});
    for (const std::string& sentence : special) {
      for (const std::int32_t id : tokenizer.encode(sentence)) EXPECT_NE(id, kUnknown) << sentence;
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(sentence)), sentence) << name_of(type);
    }
  }
  const Tokenizer bytes = Tokenizer::train(corpus(), {.vocab_size = 400, .byte_fallback = true});
  for (const std::string& sentence : special) EXPECT_EQ(bytes.decode(bytes.encode(sentence)), sentence);
}

// The mark that text is escaped is the last field before the checksum: without it, a tokenizer of before.
TEST(Tokenizer, of_earlier_versions_loads_and_gives_the_same_ids) {
  const TemporaryFolder folder;
  const Tokenizer now = Tokenizer::train(corpus(), {.vocab_size = 100});
  const std::string sealed = now.to_bytes();
  const auto file = folder.write("before.model", sealed.substr(0, sealed.size() - 13));
  const Tokenizer before = Tokenizer::import_model(file);
  EXPECT_EQ(before.encode(corpus()), now.encode(corpus()));
  EXPECT_EQ(before.decode(before.encode("the▁cell")), "the cell");  // as SentencePiece reads it
  before.save(folder / "sealed.model");
  EXPECT_EQ(Tokenizer::load(folder / "sealed.model").decode(before.encode("the▁cell")), "the cell");
}

TEST(Tokenizer, of_a_corpus_without_visible_text_is_an_error_that_speaks_of_the_text) {
  for (const char* blank : {"\u3000", "\u00a0", "\u2028", "\u0085", "\u2003", "\u200b", "\ufeff", "\x01",
                            "\ufffd", "\u00ad \u2060"}) {
    for (const TokenizerType type : {TokenizerType::bpe, TokenizerType::unigram, TokenizerType::characters}) {
      for (const auto how : {TokenizerNormalization::identity, TokenizerNormalization::nfkc}) {
        expect_error(ErrorCode::value, "there is no text in the sentences", [&] {
          Tokenizer::train({blank, blank}, {.type = type, .vocab_size = 300, .normalization = how});
        });
      }
    }
  }
}

TEST(Tokenizer, prints_nothing_while_training) {
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  Tokenizer::train(corpus(), {.vocab_size = 100});
  EXPECT_THROW(Tokenizer::train(corpus(), {.vocab_size = 50000}), Error);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(Tokenizer, refuses_text_that_is_not_utf8_and_names_the_byte) {
  const Tokenizer tokenizer = Tokenizer::train(corpus(), {.vocab_size = 100});
  expect_error(ErrorCode::format, "byte 0xFF at position 3", [&] { tokenizer.encode("the\xFF cell"); });
  expect_error(ErrorCode::format, "text 1 has byte 0xC3 at position 0", [&] {
    tokenizer.encode(std::vector<std::string>{"cell", "\xC3"});
  });
  expect_error(ErrorCode::format, "sentence 1", [&] { Tokenizer::train({"good", "\xED\xA0\x80"}, {}); });
  expect_error(ErrorCode::format, "NUL", [&] { Tokenizer::train({std::string("a\0b", 3)}, {}); });
}

TEST(Tokenizer, refuses_ids_outside_the_vocabulary) {
  const Tokenizer tokenizer = Tokenizer::train(corpus(), {.vocab_size = 100});
  expect_error(ErrorCode::value, "token 1 is 100; want 0 to 99", [&] { tokenizer.decode({4, 100}); });
  expect_error(ErrorCode::value, "token 0 is -1", [&] { tokenizer.decode({-1}); });
  expect_error(ErrorCode::value, "id is 100", [&] { tokenizer.piece(100); });
}

TEST(Tokenizer, comes_back_from_its_file_unchanged) {
  const TemporaryFolder folder;
  const Tokenizer tokenizer = Tokenizer::train(corpus(), {.vocab_size = 100});
  tokenizer.save(folder / "tokenizer.model");
  const Tokenizer loaded = Tokenizer::load(folder / "tokenizer.model");
  EXPECT_EQ(loaded.to_bytes(), tokenizer.to_bytes());
  EXPECT_EQ(loaded.encode(corpus()), tokenizer.encode(corpus()));
  expect_error(ErrorCode::io, "cannot be opened", [&] { Tokenizer::load(folder / "none"); });
  expect_error(ErrorCode::io, "cannot be opened",
               [&] { tokenizer.save(folder / "none" / "tokenizer.model"); });
}

TEST(Tokenizer, trained_on_files_equals_one_trained_on_their_lines) {
  const TemporaryFolder folder;
  std::string text;
  for (const auto& sentence : corpus()) text += sentence + "\r\n";
  const auto file = folder.write("a.txt", text);
  EXPECT_EQ(Tokenizer::train_on_files({file}, {.vocab_size = 100}).to_bytes(),
            Tokenizer::train(corpus(), {.vocab_size = 100}).to_bytes());
}

TEST(Tokenizer, calls_every_truncation_and_every_flipped_bit_of_its_file_an_error) {
  const std::string model = Tokenizer::train(corpus(), {.vocab_size = 100}).to_bytes();
  for (std::size_t size = 0; size < model.size(); size += 7) {
    expect_error(ErrorCode::format, "truncated", [&] { Tokenizer::from_bytes(model.substr(0, size)); });
  }
  for (std::size_t bit = 0; bit < model.size() * 8; bit += 5) {
    std::string damaged = model;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_THROW(Tokenizer::from_bytes(damaged), Error) << bit;
  }
  expect_error(ErrorCode::format, "foreign", [] { Tokenizer::from_bytes("not a model at all, just text"); });
}

TEST(Tokenizer, imports_a_plain_model_only_with_the_special_ids_it_needs) {
  const TemporaryFolder folder;
  const Tokenizer tokenizer = Tokenizer::train(corpus(), {.vocab_size = 100});
  const std::string sealed = tokenizer.to_bytes();
  const auto file = folder.write("plain.model", sealed.substr(0, sealed.size() - 10));
  expect_error(ErrorCode::format, "foreign", [&] { Tokenizer::load(file); });
  EXPECT_EQ(Tokenizer::import_model(file).encode("the cell"), tokenizer.encode("the cell"));
  const auto text = folder.write("text.model", "just text");
  EXPECT_THROW(Tokenizer::import_model(text), Error);
}

}  // namespace
}  // namespace headway::text
