#include <headway/train/batches.h>

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "train/tiny.h"

namespace headway::train {
namespace {

std::vector<Batch> epoch_of(BatchStream& stream) {
  std::vector<Batch> batches;
  const std::int64_t epoch = stream.position().epoch;
  while (stream.position().epoch == epoch && stream.position().batch < stream.batches())
    batches.push_back(stream.next());
  return batches;
}

std::vector<std::int64_t> order_of(const std::vector<Batch>& batches) {
  std::vector<std::int64_t> order;
  for (const Batch& batch : batches) order.insert(order.end(), batch.examples.begin(), batch.examples.end());
  return order;
}

TEST(Batches, are_packed_with_marks_and_offsets) {
  const std::vector<Example> examples{{{5, 6, 7}, {8}}, {{}, {}}, {{9}, {4, 3}}};
  const Batch batch = make_batch(examples, {2, 1, 0}, {.bos = 1, .eos = 2});
  using Ids = std::vector<std::int32_t>;
  EXPECT_EQ(batch.source.to_vector<std::int32_t>(), (Ids{9, 5, 6, 7}));
  EXPECT_EQ(batch.source_offsets, (std::vector<std::int64_t>{0, 1, 1, 4}));
  EXPECT_EQ(batch.target_in.to_vector<std::int32_t>(), (Ids{1, 4, 3, 1, 1, 8}));
  EXPECT_EQ(batch.target_out.to_vector<std::int32_t>(), (Ids{4, 3, 2, 2, 8, 2}));
  EXPECT_EQ(batch.target_offsets, (std::vector<std::int64_t>{0, 3, 4, 6}));
  EXPECT_EQ(batch.tokens(), 6);
  EXPECT_EQ(batch.all_tokens(), 10);
}

TEST(Batches, an_epoch_holds_every_example_once_within_the_budget) {
  for (const std::int64_t pool : {1, 16, 1000}) {
    BatchStream stream(test::tiny_corpus(200), {.tokens = 70, .max_sequences = 6, .pool = pool, .seed = 3});
    const auto batches = epoch_of(stream);
    auto order = order_of(batches);
    std::sort(order.begin(), order.end());
    ASSERT_EQ(order.size(), 200u);
    for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], static_cast<std::int64_t>(i));
    for (const Batch& batch : batches) {
      EXPECT_LE(batch.all_tokens(), 70);
      EXPECT_LE(batch.examples.size(), 6u);
    }
  }
}

TEST(Batches, all_but_one_are_nearly_full) {
  BatchStream stream(test::tiny_corpus(300), {.tokens = 100, .pool = 50, .seed = 3});
  int light = 0;
  for (const Batch& batch : epoch_of(stream))
    light += batch.all_tokens() <= 100 - 22;  // the longest has 21 tokens
  EXPECT_LE(light, 1);
}

TEST(Batches, seed_and_epoch_alone_decide_the_order) {
  const auto first = [](std::uint64_t seed, int epochs) {
    BatchStream stream(test::tiny_corpus(100), {.tokens = 60, .pool = 16, .seed = seed});
    std::vector<std::int64_t> order;
    for (int i = 0; i < epochs; ++i) {
      order = order_of(epoch_of(stream));
      stream.seek({stream.position().epoch + 1, 0});
    }
    return order;
  };
  EXPECT_EQ(first(1, 1), first(1, 1));
  EXPECT_NE(first(1, 1), first(2, 1));
  EXPECT_NE(first(1, 1), first(1, 2));
}

TEST(Batches, any_position_is_found_again) {
  const BatchOptions options{.tokens = 60, .pool = 16, .seed = 4};
  BatchStream stream(test::tiny_corpus(50), options);
  for (int i = 0; i < 40; ++i) {
    const BatchPosition position = stream.position();
    const Batch batch = stream.next();
    BatchStream other(test::tiny_corpus(50), options);
    other.seek(position);
    const Batch again = other.next();
    EXPECT_EQ(batch.examples, again.examples) << i;
    EXPECT_EQ(stream.position(), other.position());
  }
  EXPECT_GE(stream.position().epoch, 1);
}

TEST(Batches, evaluation_sees_every_example_once_and_shortest_first) {
  const auto examples = test::tiny_corpus(80);
  const auto batches = all_batches(examples, {.tokens = 90});
  const auto order = order_of(batches);
  EXPECT_EQ(std::set(order.begin(), order.end()).size(), 80u);
  EXPECT_EQ(order.size(), 80u);
  for (std::size_t i = 1; i < order.size(); ++i) {
    EXPECT_LE(examples[static_cast<std::size_t>(order[i - 1])].target.size(),
              examples[static_cast<std::size_t>(order[i])].target.size());
  }
}

TEST(Batches, an_example_above_the_budget_is_named) {
  try {
    BatchStream({{{1}, {2}}, {{1, 2, 3}, {4, 5}}}, {.tokens = 5});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("example 1 has 6 tokens"), std::string::npos) << error.what();
  }
  EXPECT_THROW(BatchStream({}, {}), Error);
  BatchStream stream({{{1}, {2}}}, {});
  EXPECT_THROW(stream.seek({0, 2}), Error);
}

}  // namespace
}  // namespace headway::train
