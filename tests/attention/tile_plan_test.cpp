#include <headway/attention/tile_plan.h>

#include <gmock/gmock.h>

#include <random>

#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <support/random_mask.h>

namespace headway {
namespace {

// How many of these tiles say that query and key, by their numbers, see each other.
int planned(const TilePlan& plan, std::span<const TilePlan::Tile> tiles, std::int64_t query,
            std::int64_t key) {
  int count = 0;
  for (const TilePlan::Tile& tile : tiles) {
    if (key < tile.begin || key >= tile.end) continue;
    const auto index = static_cast<std::size_t>(tile.bits + key - tile.begin);
    count += tile.bits < 0 || (plan.bits()[index] >> (query % TilePlan::kQueries) & 1);
  }
  return count;
}

// The same of a whole plan: in its tiles, or in those of the pair's class.
int planned(const TilePlan& plan, const PairPosition& at) {
  int count =
      planned(plan, plan.tiles(at.sequence, at.head, at.query / TilePlan::kQueries), at.query, at.key);
  if (plan.step() == 1) return count;
  const auto of = plan.residue_class(at.sequence, at.key % plan.step());
  if ((at.query - of.first_query) % plan.step() != 0) return count;
  const std::int64_t query = (at.query - of.first_query) / plan.step();
  const auto tiles = plan.class_tiles(at.sequence, at.head, at.key % plan.step(), query / TilePlan::kQueries);
  return count + planned(plan, tiles, query, at.key / plan.step());
}

void expect_exact(const Mask& mask, const PlanShape& shape) {
  SCOPED_TRACE(mask.str() + " of " + shape.pairs().str());
  const TilePlan plan(mask, shape);
  double visible = 0;
  std::int64_t wrong = 0;
  for (std::size_t b = 0; b < shape.sequences.size(); ++b) {
    const auto [queries, keys] = shape.sequences[b];
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      for (std::int64_t i = 0; i < queries; ++i) {
        for (std::int64_t j = 0; j < keys; ++j) {
          const PairPosition at{static_cast<std::int64_t>(b), h, i, j, queries, keys};
          visible += mask.visible(at);
          wrong += static_cast<int>(mask.visible(at)) != planned(plan, at);
        }
      }
      for (std::int64_t block = 0; block * TilePlan::kQueries < queries; ++block) {
        std::int64_t last = 0;
        for (const auto& tile : plan.tiles(static_cast<std::int64_t>(b), h, block)) {
          EXPECT_GE(tile.begin, last);
          EXPECT_EQ(tile.begin % TilePlan::kKeys, 0);
          EXPECT_GT(tile.end, tile.begin);
          EXPECT_LE(tile.end, std::min(tile.begin + TilePlan::kLongest, keys));
          EXPECT_NE(tile.live, 0);  // what nobody sees is not listed
          last = tile.end;
        }
      }
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(plan.visible_pairs(), visible);
}

TEST(TilePlan, holds_exactly_the_visible_pairs_of_any_mask) {
  std::mt19937 random(3);
  const auto number = [&](int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random);
  };
  for (int round = 0; round < 150; ++round) {
    PlanShape shape{.sequences = {}, .heads = number(1, 3)};
    const int batch = number(1, 3);
    const bool equal = number(0, 1);
    const PlanShape::Lengths first{number(0, 150), number(0, 230)};
    for (int b = 0; b < batch; ++b)
      shape.sequences.push_back(equal ? first : PlanShape::Lengths{number(0, 150), number(0, 230)});
    expect_exact(testing::random_mask(random, shape, 3), shape);
  }
}

TEST(TilePlan, gathers_patterns_by_residue_and_leaves_what_is_near_to_whole_tiles) {
  const auto of = [](const Mask& mask) { return TilePlan(mask, PlanShape::padded(1, 1, 512, 600)); };
  const TilePlan strided = of(Mask::strided(8));
  EXPECT_EQ(strided.step(), 8);
  EXPECT_TRUE(strided.has_whole_tiles());  // the stride's own window
  EXPECT_FALSE(of(Mask::dilated(5, 5, 8)).has_whole_tiles());
  EXPECT_EQ(of(Mask::strided(300)).step(), 1);  // classes of two queries are not worth it
  EXPECT_EQ(of(Mask::causal() | Mask::global({3})).step(), 1);
  for (const std::int64_t step : {2, 3, 7, 16}) {
    for (const auto& [queries, keys] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{300, 300}, {260, 411}, {411, 260}, {290, 1}}) {
      const PlanShape shape = PlanShape::padded(1, 2, queries, keys);
      const Mask window = Mask::window(20, 3);
      expect_exact(Mask::strided(step), shape);
      expect_exact(Mask::dilated(4, 2, step, Align::top_left) | Mask::global({0, 77}), shape);
      expect_exact((!Mask::dilated(9, 9, step)) & window, shape);
      expect_exact(Mask::per_head({Mask::strided(step) & window, Mask::dilated(90, 0, step + 1)}), shape);
      expect_exact(Mask::strided(step) | (Mask::dilated(90, 0, 2 * step) & Mask::padding({keys / 2})), shape);
    }
  }
}

TEST(TilePlan, knows_the_offsets_of_what_it_holds) {
  const auto of = [](const Mask& mask) {
    const auto seen = TilePlan(mask, PlanShape::padded(2, 1, 200, 260)).visible_offsets();
    return std::pair{seen.least, seen.most};
  };
  EXPECT_EQ(of(Mask::window(5, 3)), (std::pair<std::int64_t, std::int64_t>{-5, 3}));
  EXPECT_EQ(of(Mask::dilated(4, 2, 3)), (std::pair<std::int64_t, std::int64_t>{-12, 6}));
  EXPECT_EQ(of(Mask::causal()), (std::pair<std::int64_t, std::int64_t>{-259, 0}));
  EXPECT_GT(of(!Mask()).first, of(!Mask()).second);
}

TEST(TilePlan, is_as_large_as_what_is_seen) {
  const auto bytes = [](std::int64_t length) {
    return TilePlan(Mask::window(128, 128) | Mask::global({0}), PlanShape::padded(4, 8, length, length))
        .bytes();
  };
  EXPECT_LE(bytes(16384), 2.2 * static_cast<double>(bytes(8192)));
}

TEST(TilePlan, shares_rows_between_sequences_and_heads_that_the_mask_cannot_tell_apart) {
  const auto bytes = [](std::int64_t batch, std::int64_t heads) {
    return TilePlan(Mask::strided(16), PlanShape::padded(batch, heads, 512, 512)).bytes();
  };
  EXPECT_LE(bytes(8, 8) - bytes(1, 1), 8 * 8 * 8);
}

TEST(TilePlan, a_mask_that_does_not_fit_is_refused) {
  const auto plan = [](const Mask& mask) { return TilePlan(mask, PlanShape::padded(2, 3, 4, 5)); };
  EXPECT_THROW(plan(Mask::allow(zeros({4, 4}, DType::boolean))), Error);
  EXPECT_THROW(plan(Mask::causal() | Mask::padding({1, 2, 3})), Error);
  EXPECT_THROW(plan(!Mask::padding({1, 6})), Error);
  EXPECT_THROW(plan(Mask::per_head({Mask::causal()})), Error);
  EXPECT_THROW(plan(Mask::blocks(zeros({2, 2}, DType::boolean), 2)), Error);
}

TEST(TilePlan, an_error_in_a_callable_reaches_the_caller) {
  const Mask mask = Mask::where([](const PairPosition&) -> bool { throw std::runtime_error("mine"); });
  EXPECT_THROW(TilePlan(mask, PlanShape::padded(1, 1, 200, 200)), std::runtime_error);
}

}  // namespace
}  // namespace headway
