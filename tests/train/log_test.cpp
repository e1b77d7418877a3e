#include <headway/train/log.h>

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/train/curves.h>

#include "io/temporary.h"

namespace headway::train {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(RunLog, writes_one_object_per_line) {
  const test::TemporaryFolder folder;
  RunLog log(folder / "log.jsonl", 0);
  log.write({{"step", std::int64_t{1}}, {"loss", 0.1}, {"kind", std::string("a\nb")}});
  log.write({{"loss", std::numeric_limits<double>::quiet_NaN()}});
  const std::string expected = "{\"step\":1,\"loss\":0.1,\"kind\":\"a\\nb\"}\n{\"loss\":null}\n";
  EXPECT_EQ(test::get(folder / "log.jsonl"), expected);
  EXPECT_EQ(log.sync(), static_cast<std::int64_t>(expected.size()));
}

TEST(RunLog, is_cut_back_to_what_the_checkpoint_saw) {
  const test::TemporaryFolder folder;
  test::put(folder / "log.jsonl", "{\"step\":1}\n{\"step\":2}\n{\"st");
  RunLog log(folder / "log.jsonl", 11);
  log.write({{"step", std::int64_t{9}}});
  EXPECT_EQ(test::get(folder / "log.jsonl"), "{\"step\":1}\n{\"step\":9}\n");
  RunLog longer(folder / "log.jsonl", 1000);
  EXPECT_EQ(longer.sync(), 22);
}

TEST(Curves, show_every_series_and_survive_broken_lines) {
  const test::TemporaryFolder folder;
  test::put(folder / "log.jsonl",
            "{\"step\":1,\"loss\":5,\"rate\":0.1}\n\xff\xfe garbage\n[1]\n{\"step\":\"x\",\"loss\":1}\n"
            "{\"step\":2,\"score\":3,\"bleu\":3,\"validation_loss\":4}\n{\"step\":3,\"loss\":null}\n{\"ste");
  write_curves(folder / "log.jsonl", folder / "curves.svg");
  const std::string svg = test::get(folder / "curves.svg");
  for (const char* part :
       {"<svg", "Loss per token", "Validation BLEU", "Learning rate", ">validation<", "</svg>"}) {
    EXPECT_THAT(svg, HasSubstr(part));
  }
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

TEST(Curves, of_an_empty_log_are_empty_axes) {
  const test::TemporaryFolder folder;
  test::put(folder / "log.jsonl", "");
  write_curves(folder / "log.jsonl", folder / "curves.svg");
  EXPECT_THAT(test::get(folder / "curves.svg"), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace headway::train
