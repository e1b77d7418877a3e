#include <headway/inspect/tile_map.h>

#include <gmock/gmock.h>

#include <headway/core/error.h>

namespace headway::inspect {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++n;
  return n;
}

TEST(TileMap, joins_neighbouring_tiles_of_one_kind) {
  // Four blocks of 64 queries: a tile in part on each one's diagonal, and all before it as one rectangle.
  const std::string svg = tile_map(TilePlan(Mask::causal(), PlanShape::padded(1, 2, 256, 256)), 0, 1);
  EXPECT_EQ(count(svg, "class='p'/>"), 4 + 1);  // and one in the legend
  EXPECT_EQ(count(svg, "class='f'/>"), 3 + 1);
  EXPECT_THAT(svg, ::testing::HasSubstr(">causal</text>"));
  EXPECT_THAT(svg, ::testing::HasSubstr("256 queries down, 256 keys across"));
}

TEST(TileMap, a_mask_s_name_is_text_not_markup) {
  const Mask mask = Mask::where([](const PairPosition& at) { return at.key < at.query; }, "key < query");
  EXPECT_THAT(tile_map(TilePlan(mask, PlanShape::padded(1, 1, 8, 8))),
              ::testing::HasSubstr("key &lt; query"));
}

TEST(TileMap, what_the_plan_does_not_hold_is_an_error) {
  const TilePlan plan(Mask::causal(), PlanShape::padded(1, 2, 8, 8));
  EXPECT_THROW(tile_map(plan, 1, 0), Error);
  EXPECT_THROW(tile_map(plan, 0, 2), Error);
  EXPECT_THROW(tile_map(plan, -1, 0), Error);
}

}  // namespace
}  // namespace headway::inspect
