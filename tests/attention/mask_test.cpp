#include <headway/attention/mask.h>

#include <gmock/gmock.h>

#include <set>

#include <headway/attention/tile_plan.h>
#include <headway/core/error.h>
#include <headway/core/factory.h>

namespace headway {
namespace {

using ::testing::HasSubstr;

// T = S, so that a query's position is its index.
bool sees(const Mask& mask, std::int64_t query, std::int64_t key, std::int64_t length = 64) {
  return mask.visible({0, 0, query, key, length, length});
}

TEST(Mask, every_pattern_sees_what_its_definition_says) {
  const std::vector<std::int64_t> tokens = {0, 9};
  for (std::int64_t i = 0; i < 40; ++i) {
    for (std::int64_t j = 0; j < 40; ++j) {
      SCOPED_TRACE(testing::Message() << "query " << i << ", key " << j);
      EXPECT_EQ(sees(Mask(), i, j), true);
      EXPECT_EQ(sees(Mask::causal(), i, j), j <= i);
      EXPECT_EQ(sees(Mask::window(3, 2), i, j), i - 3 <= j && j <= i + 2);
      EXPECT_EQ(sees(Mask::dilated(2, 1, 4), i, j), j == i - 8 || j == i - 4 || j == i || j == i + 4);
      EXPECT_EQ(sees(Mask::strided(5), i, j), j <= i && (i - j <= 5 || (i - j) % 5 == 0));
      EXPECT_EQ(sees(Mask::fixed(8, 2), i, j), j <= i && (i / 8 == j / 8 || j % 8 >= 6));
      const bool global = i == 0 || i == 9 || j == 0 || j == 9;
      EXPECT_EQ(sees(Mask::global(tokens), i, j), global);
      EXPECT_EQ(sees(Mask::documents({0, 10, 10, 30}), i, j), i < 30 && j < 30 && (i < 10) == (j < 10));
      EXPECT_EQ(sees(Mask::causal() & !Mask::window(1, 0), i, j), j < i - 1);
      EXPECT_EQ(sees(Mask::window(1, 1) | Mask::global(tokens), i, j), std::abs(i - j) <= 1 || global);
    }
  }
}

TEST(Mask, positions_align_to_the_last_key_unless_told) {
  // 3 queries over 10 keys: query 0 stands at 7.
  const auto at = [](std::int64_t query, std::int64_t key) { return PairPosition{0, 0, query, key, 3, 10}; };
  EXPECT_TRUE(Mask::causal().visible(at(0, 7)));
  EXPECT_FALSE(Mask::causal().visible(at(0, 8)));
  EXPECT_FALSE(Mask::causal(Align::top_left).visible(at(0, 1)));
  EXPECT_TRUE(Mask::dilated(2, 0, 3).visible(at(0, 1)));
  EXPECT_TRUE(Mask::dilated(1, 0, 1, Align::top_left).visible(at(2, 1)));
  EXPECT_TRUE(Mask::fixed(4, 1).visible(at(0, 3)));
  EXPECT_TRUE(Mask::global({8}).visible(at(1, 0)));
}

TEST(Mask, random_blocks_draws_as_many_as_asked_and_repeats_itself) {
  for (const std::int64_t length : {63, 200, 1000}) {
    const Mask mask = Mask::random_blocks(16, 3, 7), same = Mask::random_blocks(16, 3, 7),
               other = Mask::random_blocks(16, 3, 8);
    int differences = 0;
    for (std::int64_t i = 0; i < length; i += 16) {
      std::set<std::int64_t> blocks;
      for (std::int64_t j = 0; j < length; ++j) {
        if (sees(mask, i, j, length)) blocks.insert(j / 16);
        EXPECT_EQ(sees(mask, i, j, length), sees(mask, std::min(i + 15, length - 1), j, length));
        EXPECT_EQ(sees(mask, i, j, length), sees(same, i, j, length));
        differences += sees(mask, i, j, length) != sees(other, i, j, length);
      }
      EXPECT_EQ(blocks.size(), 3);
    }
    EXPECT_GT(differences, 0);
  }
  EXPECT_TRUE(sees(Mask::random_blocks(16, 9, 0), 0, 40));  // more than there are: all
}

TEST(Mask, big_bird_is_its_three_parts) {
  const Mask all = Mask::big_bird({.block = 8, .window = 3, .global = 1, .random = 2, .seed = 5});
  const Mask drawn = Mask::random_blocks(8, 2, 5);
  for (std::int64_t i = 0; i < 64; ++i) {
    for (std::int64_t j = 0; j < 64; ++j) {
      EXPECT_EQ(sees(all, i, j), std::abs(i / 8 - j / 8) <= 1 || i < 8 || j < 8 || sees(drawn, i, j));
    }
  }
}

TEST(Mask, tensors_callables_and_heads_are_asked_for_their_own_pair) {
  const Tensor visible = zeros({2, 3, 4, 5}, DType::boolean);
  visible.data<bool>()[((1 * 3 + 2) * 4 + 3) * 5 + 4] = true;
  const PairPosition there{1, 2, 3, 4, 4, 5}, elsewhere{1, 1, 3, 4, 4, 5};
  EXPECT_TRUE(Mask::allow(visible).visible(there));
  EXPECT_FALSE(Mask::allow(visible).visible(elsewhere));
  EXPECT_FALSE(Mask::deny(visible).visible(there));
  const Tensor blocks = zeros({2, 3}, DType::boolean);
  blocks.data<bool>()[5] = true;
  EXPECT_TRUE(Mask::blocks(blocks, 2).visible(there));
  EXPECT_FALSE(Mask::blocks(blocks, 2).visible({1, 2, 1, 4, 4, 5}));
  const Mask ask = Mask::where([](const PairPosition& at) { return at.sequence + at.head == 3; }, "mine");
  EXPECT_TRUE(ask.visible(there));
  EXPECT_FALSE(ask.visible(elsewhere));
  const Mask each = Mask::per_head({Mask(), !Mask(), Mask::causal()});
  EXPECT_TRUE(each.visible({0, 0, 0, 4, 4, 4}));
  EXPECT_FALSE(each.visible({0, 1, 0, 0, 4, 4}));
  EXPECT_FALSE(each.visible({0, 2, 0, 1, 4, 4}));
}

TEST(Mask, what_it_writes_it_reads_back) {
  for (const char* text :
       {"all", "causal", "causal(top_left)", "window(4, 0)", "window(4, 1, top_left) & causal", "!causal",
        "dilated(2, 2, 8) | global(0, 5)", "(causal | window(1, 1)) & strided(32)", "!(fixed(8, 2) | causal)",
        "big_bird(64, 3, 2, 3, 0)", "random_blocks(16, 2, 9) & documents(0, 10, 20)"}) {
    EXPECT_EQ(Mask::parse(text).str(), text);
  }
  EXPECT_EQ(Mask::parse("big_bird").str(), "big_bird(64, 3, 2, 3, 0)");
  EXPECT_EQ(Mask::parse("  window( 4,0 )&causal ").str(), "window(4, 0) & causal");
}

TEST(Mask, what_cannot_be_read_is_an_error_that_shows_where) {
  const auto message = [](std::string_view text) -> std::string {
    try {
      return "read as " + Mask::parse(text).str();
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(message("causal & "),
            "Mask::parse: 'causal & ' at ''; want all, causal, window, dilated, strided, fixed, "
            "global, random_blocks, big_bird or documents");
  EXPECT_THAT(message("window(4)"), HasSubstr("at 'window(4)'; want window(left, right [, top_left])"));
  EXPECT_THAT(message("window(4, x)"), HasSubstr("at 'x)'; want a number"));
  EXPECT_THAT(message("(causal"), HasSubstr("want ')'"));
  EXPECT_THAT(message("causal causal"), HasSubstr("want '&', '|' or the end"));
  EXPECT_THAT(message("window(-1, 0)"), HasSubstr("left is -1"));
  EXPECT_THAT(message(std::string(5000, '(')), HasSubstr("fewer brackets"));
  EXPECT_THAT(message("window(99999999999999999999, 0)"), HasSubstr("want a number"));
}

TEST(Mask, bounds_are_for_conjunctions_of_intervals_and_lengths_alone) {
  const auto bounds =
      (Mask::causal() & Mask::window(4, 1) & Mask::padding({3, 5}) & Mask::padding({4, 4})).bounds();
  ASSERT_TRUE(bounds);
  EXPECT_EQ(bounds->intervals.size(), 2);
  EXPECT_EQ(bounds->lengths, (std::vector<std::int64_t>{3, 4}));
  EXPECT_TRUE(Mask().bounds());
  EXPECT_FALSE((Mask::causal() | Mask::window(4, 1)).bounds());
  EXPECT_FALSE((!Mask::causal()).bounds());
  EXPECT_FALSE(Mask::allow(zeros({2, 2}, DType::boolean)).bounds());
}

TEST(Mask, values_that_make_no_mask_are_refused) {
  EXPECT_THROW(Mask::window(-1, 0), Error);
  EXPECT_THROW(Mask::dilated(1, 1, 0), Error);
  EXPECT_THROW(Mask::strided(0), Error);
  EXPECT_THROW(Mask::fixed(4, 5), Error);
  EXPECT_THROW(Mask::global({-1}), Error);
  EXPECT_THROW(Mask::random_blocks(0, 1, 0), Error);
  EXPECT_THROW(Mask::big_bird({.window = 2}), Error);
  EXPECT_THROW(Mask::blocks(zeros({2, 2}), 4), Error);
  EXPECT_THROW(Mask::documents({0, 4, 2}), Error);
  EXPECT_THROW(Mask::documents({}), Error);
  EXPECT_THROW(Mask::where(nullptr), Error);
  EXPECT_THROW(Mask::per_head({}), Error);
  EXPECT_THROW(Mask::padding({}), Error);
}

TEST(Mask, sizes_beyond_any_sequence_are_refused_where_they_would_be_multiplied) {
  constexpr std::int64_t kHuge = (std::int64_t{1} << 62) + 1;
  EXPECT_THROW(Mask::dilated(6, 0, kHuge), Error);
  EXPECT_THROW(Mask::strided(kHuge), Error);
  EXPECT_THROW(Mask::fixed(kHuge, 1), Error);
  EXPECT_THROW(Mask::random_blocks(kHuge, 1, 0), Error);
  EXPECT_THROW(Mask::random_blocks(1, kHuge, 0), Error);
  EXPECT_THROW(Mask::big_bird({.window = kHuge}), Error);
  EXPECT_THROW(Mask::blocks(zeros({2, 2}, DType::boolean), kHuge), Error);
  EXPECT_TRUE(Mask::window(kHuge, kHuge).visible({0, 0, 0, 5, 1, 6}));
}

}  // namespace
}  // namespace headway
