#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include <headway/core/generator.h>
#include <headway/core/parallel.h>
#include <headway/text/similarity.h>
#include <headway/text/split.h>

#include "text/expect_error.h"

namespace headway::text {
namespace {

TEST(Similarity, is_twice_the_common_words_over_all_words) {
  EXPECT_DOUBLE_EQ(similarity("Click OK.", "click ok"), 1);
  EXPECT_DOUBLE_EQ(similarity("a b c d", "a b x y"), 0.5);
  EXPECT_DOUBLE_EQ(similarity("the the cat", "the dog"), 2.0 * 1 / 5);
  EXPECT_DOUBLE_EQ(similarity("page 17", "Page 42"), 1);  // of equally many digits each is like any other
  EXPECT_DOUBLE_EQ(similarity("STRASSE", "straße"), 1);
  EXPECT_DOUBLE_EQ(similarity("...", "..."), 1);
  EXPECT_DOUBLE_EQ(similarity("...", "!"), 0);
  EXPECT_DOUBLE_EQ(similarity("", "word"), 0);
}

// Up to eight words out of `letters` squared.
std::vector<std::string> random_sentences(int count, std::uint64_t seed, std::uint64_t letters) {
  Generator generator(seed);
  std::vector<std::string> sentences;
  for (int i = 0; i < count; ++i) {
    std::string sentence;
    for (std::uint64_t n = generator.below(9); n > 0; --n) {
      for (int letter = 0; letter < 2; ++letter)
        sentence += static_cast<char>('a' + generator.below(letters));
      sentence += ' ';
    }
    sentences.push_back(sentence);
  }
  return sentences;
}

TEST(Similarity, index_finds_what_comparing_with_every_sentence_finds) {
  const auto train = random_sentences(300, 1, 4);
  const auto queries = random_sentences(200, 2, 4);
  const SimilarityIndex index(train);
  const auto found = index.nearest(queries);
  for (std::size_t q = 0; q < queries.size(); ++q) {
    double best = 0;
    for (const auto& sentence : train) best = std::max(best, similarity(queries[q], sentence));
    EXPECT_EQ(found[q].similarity, best) << queries[q];
    if (found[q].index >= 0) {
      EXPECT_EQ(similarity(queries[q], train[static_cast<std::size_t>(found[q].index)]), best);
    } else {
      EXPECT_EQ(best, 0);
    }
  }
}

Pairs random_corpus() {
  Pairs pairs;
  const auto a = random_sentences(3000, 3, 20);
  const auto b = random_sentences(3000, 4, 20);
  for (std::size_t i = 0; i < a.size(); ++i) pairs.push_back({a[i], b[i], "page " + std::to_string(i / 10)});
  return pairs;
}

TEST(Split, keeps_whole_documents_together_and_held_out_sentences_unseen) {
  const Pairs pairs = random_corpus();
  const Split split = split_by_document(pairs, {.test = 0.2, .valid = 0.1});
  ASSERT_GT(split.test.size(), 20u);
  ASSERT_GT(split.valid.size(), 10u);
  const std::set<std::string> test(split.test_documents.begin(), split.test_documents.end());
  const std::set<std::string> valid(split.valid_documents.begin(), split.valid_documents.end());
  for (const auto& pair : split.test) EXPECT_TRUE(test.contains(pair.document));
  for (const auto& pair : split.valid) EXPECT_TRUE(valid.contains(pair.document));
  for (const auto& pair : split.train)
    EXPECT_FALSE(test.contains(pair.document) || valid.contains(pair.document));
  for (const auto* held_out : {&split.test, &split.valid}) {
    for (const auto& pair : *held_out) {
      for (const auto& seen : split.train) {
        ASSERT_LT(similarity(pair.source, seen.source), 0.6);
        ASSERT_LT(similarity(pair.target, seen.target), 0.6);
      }
    }
  }
}

TEST(Split, accounts_for_every_pair) {
  const Pairs pairs = random_corpus();
  const Split split = split_by_document(pairs, {.test = 0.2, .valid = 0.1});
  const auto kept = split.train.size() + split.valid.size() + split.test.size();
  EXPECT_EQ(kept + static_cast<std::size_t>(split.duplicates + split.seen + split.identical + split.similar),
            pairs.size());
}

TEST(Split, drops_held_out_pairs_that_training_has_on_either_side_but_for_case_and_digits) {
  // Which page is held out follows from the name alone.
  std::string held_out;
  std::string trained;
  for (int i = 0; held_out.empty() || trained.empty(); ++i) {
    const std::string name = "page " + std::to_string(i);
    (document_position(name) < 0.5 ? held_out : trained) = name;
  }
  const Pairs pairs{
      {"Press key 1", "Taste drücken", trained},     {"PRESS KEY 7", "etwas ganz anderes", held_out},
      {"something else", "TASTE DRÜCKEN", held_out}, {"Writer", "writer", held_out},
      {"wholly new words", "neue Wörter", held_out}, {"wholly new words", "neue Wörter", held_out}};
  const Split split = split_by_document(pairs, {.test = 0.5, .valid = 0});
  ASSERT_EQ(split.test.size(), 1u);
  EXPECT_EQ(split.test[0].target, "neue Wörter");
  EXPECT_EQ(split.seen, 2);
  EXPECT_EQ(split.identical, 1);
  EXPECT_EQ(split.duplicates, 1);
}

TEST(Split, places_a_document_by_its_name_alone_and_evenly) {
  // FNV-1a, 64 bits, of "foobar" is 0x85944171f73967e8 (the test vectors of Fowler, Noll and Vo);
  // MurmurHash3's fmix64 of that, worked out with Python's integers, is 0x2c22194922d1672b.
  EXPECT_EQ(document_position("foobar"), static_cast<double>(0x2c22194922d1672bu >> 11) * 0x1p-53);
  EXPECT_EQ(document_position("bar", "foo"), document_position("foobar"));
  // Names that differ in their last characters alone. 10 bins of 200 expected: the standard deviation of a
  // bin's count is sqrt(2000 · 0.1 · 0.9) = 13.4, and 5 of them are 67.
  std::vector<int> bins(10);
  for (int i = 0; i < 2000; ++i) {
    ++bins[static_cast<std::size_t>(10 * document_position("lines " + std::to_string(i)))];
  }
  for (const int count : bins) EXPECT_NEAR(count, 200, 67);
}

TEST(Split, with_shares_that_leave_no_training_is_an_error) {
  expect_error(ErrorCode::value, "shares", [] { split_by_document({}, {.test = 0.7, .valid = 0.3}); });
  expect_error(ErrorCode::value, "shares", [] { split_by_document({}, {.test = -0.1}); });
}

TEST(NearestCopy, gives_the_translation_of_the_most_similar_training_source) {
  const Pairs train{{"open the file", "Datei öffnen", ""}, {"close the window now", "Fenster schließen", ""}};
  const Pairs test{{"please close the window", "x", ""}, {"unrelated", "y", ""}};
  EXPECT_EQ(nearest_copy_baseline(train, test), (std::vector<std::string>{"Fenster schließen", ""}));
}

}  // namespace
}  // namespace headway::text
