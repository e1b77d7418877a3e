#include <headway/inspect/alignment.h>

#include <gtest/gtest.h>

#include <headway/core/factory.h>
#include <headway/inspect/similarity.h>

namespace headway::inspect {
namespace {

std::vector<std::string> texts(const std::vector<Word>& words) {
  std::vector<std::string> out;
  for (const Word& word : words) out.push_back(word.text);
  return out;
}

TEST(WordsOf, joins_pieces_and_leaves_out_punctuation_and_control_tokens) {
  const auto words = words_of({"<s>", "▁Zei", "le", "▁„", "Ein", "fügen", "“", ".", "▁", "OK", "▁…", "</s>"});
  EXPECT_EQ(texts(words), (std::vector<std::string>{"Zeile", "Einfügen", "OK"}));
  EXPECT_EQ(words[0].first, 1u);
  EXPECT_EQ(words[0].last, 3u);
  EXPECT_EQ(words[1].first, 4u);
  EXPECT_EQ(words[1].last, 6u);
}

TEST(WordsOf, punctuation_parts_words) {
  EXPECT_EQ(texts(words_of({"▁right", "-", "click"})), (std::vector<std::string>{"right", "click"}));
  EXPECT_TRUE(words_of({}).empty());
  EXPECT_TRUE(words_of({"▁", "."}).empty());
}

// "in sert row" -> "Zeile ein fügen"; sources: ▁in sert ▁row . </s>
AlignmentInput input(const std::vector<float>& first, const std::vector<float>& second) {
  std::vector<float> both = first;
  both.insert(both.end(), second.begin(), second.end());
  return {.source_tokens = {"▁in", "sert", "▁row", ".", "</s>"},
          .target_written = {"▁Zeile", "▁ein", "fügen", "</s>"},
          .cross = {from(both, {2, 4, 5})}};
}
const std::vector<float> kAligned = {0.1F, 0,    0.8F, 0.1F, 0,    0.5F, 0.2F, 0.1F, 0.1F, 0.1F,
                                     0.2F, 0.5F, 0.1F, 0.1F, 0.1F, 0,    0,    0,    0,    1};
const std::vector<float> kStaring = {0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0};

TEST(Alignment, adds_up_the_pieces_of_a_source_word_and_averages_those_of_a_target_word) {
  const HeadAlignment alignment = align(input(kAligned, kStaring), 0, 0);
  ASSERT_EQ(alignment.links.size(), 2u);
  EXPECT_EQ(alignment.links[0].target, "Zeile");
  EXPECT_EQ(alignment.links[0].source, "row");
  EXPECT_NEAR(alignment.links[0].weight, 0.8, 1e-6);
  EXPECT_EQ(alignment.links[1].target, "einfügen");
  EXPECT_EQ(alignment.links[1].source, "insert");
  EXPECT_NEAR(alignment.links[1].weight, (0.7 + 0.7) / 2, 1e-6);
  EXPECT_NEAR(alignment.peak, (0.8 + 0.7) / 2, 1e-6);
}

TEST(Alignment, a_head_that_stares_at_one_word_is_not_the_most_peaked) {
  EXPECT_NEAR(align(input(kAligned, kStaring), 0, 1).peak, 0.5, 1e-6);
  const auto best = best_alignment({input(kStaring, kAligned), input(kStaring, kAligned)});
  ASSERT_EQ(best.size(), 2u);
  EXPECT_EQ(best[0].layer, 0);
  EXPECT_EQ(best[0].head, 1);
  EXPECT_NEAR(best[1].peak, 0.75, 1e-6);
}

TEST(Alignment, a_word_that_looks_at_no_word_has_no_link) {
  std::vector<float> at_the_end(20, 0);
  for (std::size_t t = 0; t < 4; ++t) at_the_end[t * 5 + 4] = 1;
  const HeadAlignment alignment = align(input(at_the_end, kStaring), 0, 0);
  EXPECT_TRUE(alignment.links.empty());
  EXPECT_EQ(alignment.peak, 0);
}

TEST(Alignment, heads_and_tokens_must_be_there) {
  AlignmentInput pair = input(kAligned, kStaring);
  EXPECT_THROW(align(pair, 1, 0), Error);
  EXPECT_THROW(align(pair, 0, 2), Error);
  EXPECT_THROW(align(pair, -1, 0), Error);
  pair.source_tokens.pop_back();
  EXPECT_THROW(align(pair, 0, 0), Error);
  EXPECT_TRUE(best_alignment({}).empty());
}

TEST(HeadDivergence, is_0_for_equal_and_1_for_disjoint_heads) {
  EXPECT_NEAR(head_divergence(from(std::vector<float>{0.25F, 0.75F, 0.25F, 0.75F}, {2, 1, 2})), 0, 1e-12);
  EXPECT_NEAR(head_divergence(from(std::vector<float>{1, 0, 0, 1}, {2, 1, 2})), 1, 1e-12);
}

TEST(HeadDivergence, averages_pairs_and_skips_empty_rows) {
  // Heads 0 and 1 are equal, 2 differs from both: 2 of 3 pairs. The second query sees nothing.
  const Tensor weights = from(std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0}, {1, 3, 2, 2});
  EXPECT_NEAR(head_divergence(weights), 2.0 / 3, 1e-12);
  EXPECT_EQ(head_divergence(from(std::vector<float>{1, 0}, {1, 1, 2})), 0);
  EXPECT_THROW(head_divergence(ones({2, 2})), Error);
}

}  // namespace
}  // namespace headway::inspect
