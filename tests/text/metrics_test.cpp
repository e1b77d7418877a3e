#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/core/version.h>
#include <headway/text/bleu.h>
#include <headway/text/chrf.h>

// Golden numbers come from sacreBLEU (make_golden.py). Both sides compute the same real formula from the same
// integer counts in float64, with about ten roundings: 1e-9 of a score below 100 leaves room for their order,
// and no count.
namespace headway::text {
namespace {

constexpr double kRounding = 1e-9;

const nlohmann::json& golden() {
  static const nlohmann::json data = [] {
    std::ifstream file(HEADWAY_SOURCE_DIR "/tests/text/data/metrics.json");
    return nlohmann::json::parse(file);
  }();
  return data;
}

using Lines = std::vector<std::string>;

Lines slice(const Lines& lines, const nlohmann::json& row) {
  return Lines(lines.begin() + row["begin"].get<int>(), lines.begin() + row["end"].get<int>());
}

References slices(const nlohmann::json& row) {
  static const auto all = golden()["references"].get<References>();
  References lists;
  for (int r = 0; r < row["references"].get<int>(); ++r)
    lists.push_back(slice(all[static_cast<std::size_t>(r)], row));
  return lists;
}

BleuOptions bleu_options(const nlohmann::json& row) {
  BleuOptions options{.tokenizer = bleu_tokenizer(row["tokenize"].get<std::string>()),
                      .smoothing = bleu_smoothing(row["smooth"].get<std::string>()),
                      .lowercase = row["lowercase"],
                      .effective_order = row["effective"]};
  if (!row["value"].is_null()) options.smooth_value = row["value"].get<double>();
  return options;
}

TEST(Bleu, equals_sacrebleu_for_every_tokenizer_case_smoothing_and_number_of_references) {
  const auto hypotheses = golden()["hypotheses"].get<Lines>();
  ASSERT_GT(golden()["bleu"].size(), 300u);
  for (const auto& row : golden()["bleu"]) {
    const BleuOptions options = bleu_options(row);
    const BleuScore got = corpus_bleu(slice(hypotheses, row), slices(row), options);
    EXPECT_NEAR(got.score, row["score"].get<double>(), kRounding) << row;
    EXPECT_NEAR(got.brevity_penalty, row["bp"].get<double>(), kRounding) << row;
    EXPECT_EQ(got.counts.hypothesis_length, row["hypothesis_length"].get<std::int64_t>()) << row;
    EXPECT_EQ(got.counts.reference_length, row["reference_length"].get<std::int64_t>()) << row;
    for (std::size_t n = 0; n < kBleuOrder; ++n) {
      EXPECT_NEAR(got.precisions[n], row["precisions"][n].get<double>(), kRounding) << row;
    }
    EXPECT_EQ(bleu_signature(options, row["references"]),
              row["signature"].get<std::string>() + "|version:headway-" + version());
  }
}

TEST(Bleu, tokenizes_each_sentence_as_sacrebleu_does) {
  const auto hypotheses = golden()["hypotheses"].get<Lines>();
  for (const auto& [name, tokens] : golden()["tokens"].items()) {
    for (std::size_t i = 0; i < hypotheses.size(); ++i) {
      EXPECT_EQ(bleu_tokenize(hypotheses[i], bleu_tokenizer(name)), tokens[i].get<std::string>())
          << name << ' ' << i;
    }
  }
}

TEST(Bleu, of_a_sentence_equals_sacrebleus) {
  const auto hypotheses = golden()["hypotheses"].get<Lines>();
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    const Lines references{golden()["references"][0][i], golden()["references"][1][i]};
    EXPECT_NEAR(sentence_bleu(hypotheses[i], references).score, golden()["sentence_bleu"][i].get<double>(),
                kRounding)
        << hypotheses[i];
    EXPECT_NEAR(sentence_chrf(hypotheses[i], references), golden()["sentence_chrf"][i].get<double>(),
                kRounding)
        << hypotheses[i];
  }
}

TEST(Bleu, signature_line_has_sacrebleus_fields_in_its_order) {
  EXPECT_EQ(bleu_signature({}, 1), "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:headway-0.1.0");
  EXPECT_EQ(
      bleu_signature({.tokenizer = BleuTokenizer::intl, .smoothing = BleuSmoothing::floor, .lowercase = true},
                     2, BootstrapOptions{}),
      "nrefs:2|bs:1000|seed:12345|case:lc|eff:no|tok:intl|smooth:floor[0.10]|version:headway-0.1.0");
}

TEST(Bleu, details_read_like_sacrebleus) {
  const BleuScore score = corpus_bleu({"the cat sat on the mat"}, {{"the cat sat on a mat today"}});
  EXPECT_EQ(score.details(), "83.3/60.0/50.0/33.3 (BP = 0.846 ratio = 0.857 hyp_len = 6 ref_len = 7)");
}

TEST(Bleu, of_lists_of_unequal_length_is_an_error_that_names_both) {
  try {
    corpus_bleu({"a", "b"}, {{"a"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::value);
    EXPECT_STREQ(error.what(), "bleu: reference list 1 has 1 lines, hypotheses 2; want equally many");
  }
  EXPECT_THROW(corpus_bleu({}, {{}}), Error);
  EXPECT_THROW(corpus_bleu({"a"}, {}), Error);
  EXPECT_THROW(corpus_bleu({"\xFF"}, {{"a"}}), Error);
}

TEST(Chrf, equals_sacrebleu_with_and_without_words_case_blanks_and_a_second_reference) {
  const auto hypotheses = golden()["hypotheses"].get<Lines>();
  ASSERT_GT(golden()["chrf"].size(), 50u);
  for (const auto& row : golden()["chrf"]) {
    const ChrfOptions options{
        .word_order = row["word_order"], .lowercase = row["lowercase"], .whitespace = row["whitespace"]};
    EXPECT_NEAR(corpus_chrf(slice(hypotheses, row), slices(row), options), row["score"].get<double>(),
                kRounding)
        << row;
    EXPECT_EQ(chrf_name(options), row["name"].get<std::string>());
    EXPECT_EQ(chrf_signature(options, row["references"]),
              row["signature"].get<std::string>() + "|version:headway-" + version());
  }
}

TEST(Bootstrap, of_equal_sentences_has_no_width) {
  const std::vector<BleuCounts> same(50,
                                     bleu_counts({"the cat sat on the mat"}, {{"the cat sat on a mat"}})[0]);
  const Interval interval = bleu_interval(same);
  EXPECT_DOUBLE_EQ(interval.low, interval.high);
  EXPECT_NEAR(interval.mean, bleu_score(same[0]).score, kRounding);
}

TEST(Bootstrap, of_a_mean_has_the_width_of_the_binomial) {
  // chrF of sentences that match wholly or not at all is 100 times the share k/n of those that match:
  // precision and recall are both k/n. The share's standard deviation is sqrt(p(1-p)/n) = 2.5 %, so 95 % of
  // samples lie within 1.96 · 2.5 = 4.9. A quantile of 1000 samples has standard error sqrt(0.025 · 0.975 /
  // 1000) / 0.0234 = 0.21 of these deviations, at either end: 4 standard errors of the half width are 4 ·
  // 0.21 / sqrt(2) · 2.5 = 1.5.
  std::vector<std::string> hypotheses;
  std::vector<std::string> references;
  for (int i = 0; i < 400; ++i) {
    hypotheses.push_back(i % 2 == 0 ? "abcdefgh" : "ijklmnop");
    references.push_back("abcdefgh");
  }
  const auto counts = chrf_counts(hypotheses, {references});
  const Interval interval = chrf_interval(counts);
  EXPECT_NEAR(interval.half_width(), 4.9, 1.5);
  EXPECT_NEAR(interval.mean, 50, 4 * 2.5 / std::sqrt(1000.0));
}

TEST(Bootstrap, depends_on_the_seed_and_not_on_threads) {
  const auto hypotheses = golden()["hypotheses"].get<Lines>();
  const References references{golden()["references"][0].get<Lines>()};
  const int before = threads();
  set_threads(1);
  const Interval one = bleu_interval(bleu_counts(hypotheses, references));
  set_threads(3);
  const Interval three = bleu_interval(bleu_counts(hypotheses, references));
  set_threads(before);
  EXPECT_EQ(one.low, three.low);
  EXPECT_EQ(one.high, three.high);
  EXPECT_EQ(one.mean, three.mean);
  const Interval other = bleu_interval(bleu_counts(hypotheses, references), {}, {.seed = 2});
  EXPECT_NE(one.mean, other.mean);
  EXPECT_THROW(bleu_interval({}, {}), Error);
  EXPECT_THROW(bleu_interval(bleu_counts(hypotheses, references), {}, {.samples = 1}), Error);
}

}  // namespace
}  // namespace headway::text
