#include <gtest/gtest.h>

#include <headway/core/generator.h>
#include <headway/text/prepared.h>

#include "text/expect_error.h"
#include "text/temporary_folder.h"

namespace headway::text {
namespace {

TEST(Clean, drops_pairs_for_the_first_rule_that_applies_and_counts_them) {
  const Pairs raw{{" a\u00a0\n b\u00ad", "c\u200b d", "x"},
                  {"123", "eins", "x"},
                  {"one two three", "eins", "x"},
                  {"this is a rather long sentence", "kurz", "x"},
                  {"not translated at all", "not translated at all", "x"},
                  {"Writer", "Writer", "x"}};
  CleanCounts counts;
  const Pairs kept = clean(raw, {.max_words = 6, .max_identical_words = 2}, &counts);
  const Pairs want{{"a b", "c d", "x"}, {"one two three", "eins", "x"}, {"Writer", "Writer", "x"}};
  EXPECT_EQ(kept, want);  // 13 + 8 characters are not more than twice 4 + 8: "eins" stays
  EXPECT_EQ(counts.kept, 3);
  EXPECT_EQ(counts.empty, 1);
  EXPECT_EQ(counts.bad_ratio, 1);
  EXPECT_EQ(counts.untranslated, 1);
  clean(raw, {.max_words = 3}, &counts);
  EXPECT_EQ(counts.too_long, 2);
}

TEST(Fold, joins_case_and_digits) {
  EXPECT_EQ(fold("Straße 12 ÄÖ ٣"), "strasse 00 äö 0");
  EXPECT_EQ(normalize_space("  a \t\u2003b\uFEFF\n"), "a b");
}

Split small_split() {
  Split split;
  split.train = {{"one", "eins", "p1"}, {"two größer", "zwei", "p1"}};
  split.test = {{"three", "drei", "p2"}};
  split.test_documents = {"p2"};
  split.seen = 4;
  return split;
}

CorpusInfo small_info() {
  CorpusInfo info;
  info.name = "small";
  info.source_language = "en";
  info.target_language = "de";
  info.licence = "MPL-2.0";
  info.packages = {{"libreoffice-help-de", "1.2"}};
  info.split.salt = "pepper";
  return info;
}

TEST(PreparedCorpus, comes_back_as_it_was_written) {
  const TemporaryFolder folder;
  write_corpus(folder / "corpus/", small_split(), small_info());
  EXPECT_EQ(TemporaryFolder::read(folder / "corpus/train.tsv"), "one\teins\ntwo größer\tzwei\n");
  const PreparedCorpus corpus = read_corpus(folder / "corpus");
  EXPECT_EQ(corpus.train.size(), 2u);
  EXPECT_EQ(corpus.test[0].target, "drei");
  EXPECT_TRUE(corpus.valid.empty());
  EXPECT_EQ(corpus.test_documents, std::vector<std::string>{"p2"});
  EXPECT_EQ(corpus.info.packages, small_info().packages);
  EXPECT_EQ(corpus.info.split.salt, "pepper");
  EXPECT_EQ(corpus.info.seen, 4);
}

TEST(PreparedCorpus, replaces_only_a_prepared_corpus_and_leaves_nothing_behind) {
  const TemporaryFolder folder;
  write_corpus(folder / "corpus", small_split(), small_info());
  Split other = small_split();
  other.train.pop_back();
  write_corpus(folder / "corpus", other, small_info());
  EXPECT_EQ(read_corpus(folder / "corpus").train.size(), 1u);
  Split broken = small_split();
  broken.train[0].source = "a\tb";
  expect_error(ErrorCode::value, "has a tab", [&] { write_corpus(folder / "corpus", broken, small_info()); });
  EXPECT_EQ(read_corpus(folder / "corpus").train.size(), 1u);
  folder.write("mine/notes.txt", "precious");
  expect_error(ErrorCode::io, "no prepared corpus",
               [&] { write_corpus(folder / "mine", other, small_info()); });
  EXPECT_EQ(TemporaryFolder::read(folder / "mine/notes.txt"), "precious");
  int entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) entries += entry.exists();
  EXPECT_EQ(entries, 2);
}

TEST(PreparedCorpus, of_damaged_files_is_a_clear_error) {
  const TemporaryFolder folder;
  write_corpus(folder / "corpus", small_split(), small_info());
  const std::string json = TemporaryFolder::read(folder / "corpus/corpus.json");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = json;
    changed.replace(changed.find(from), from.size(), to);
    return [&folder, changed] {
      folder.write("corpus/corpus.json", changed);
      read_corpus(folder / "corpus");
    };
  };
  expect_error(ErrorCode::format, "format_version is 2; want 1",
               with("\"format_version\": 1", "\"format_version\": 2"));
  expect_error(ErrorCode::format, "colour is unknown", with("\"name\"", "\"colour\": 1, \"name\""));
  expect_error(ErrorCode::format, "the key \"name\" twice", with("\"name\"", "\"name\": \"x\", \"name\""));
  expect_error(ErrorCode::format, "has a NUL", with("\n}", std::string("\n}\0{", 4)));
  expect_error(ErrorCode::format, "licence is missing", with("\"licence\": \"MPL-2.0\",", ""));
  expect_error(ErrorCode::format, "train.tsv has 2 pairs; want 3", with("\"train\": 2", "\"train\": 3"));
  expect_error(ErrorCode::format, "corpus.json", with("\"train\": 2", "\"train\": \"x\""));
  for (std::size_t size = 0; size + 2 < json.size(); size += 11) {
    folder.write("corpus/corpus.json", json.substr(0, size));
    EXPECT_THROW(read_corpus(folder / "corpus"), Error) << size;
  }
  Generator generator(9);
  for (int round = 0; round < 300; ++round) {
    std::string changed = json;
    changed[generator.below(changed.size())] = static_cast<char>(generator.below(256));
    folder.write("corpus/corpus.json", changed);
    try {
      read_corpus(folder / "corpus");  // a changed letter in a name is no damage that could be seen
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::format) << error.what();
    }
  }
}

}  // namespace
}  // namespace headway::text
