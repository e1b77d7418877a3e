#include <headway/inspect/picture.h>

#include <gmock/gmock.h>

#include <headway/core/error.h>
#include <headway/core/factory.h>

namespace headway::inspect {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(HeadPicture, shows_every_weight_beside_its_labels) {
  const Tensor weights = from(std::vector<float>{0.75f, 0.2f, 0.05f, 0.0f, 0.4f, 0.6f}, {2, 3});
  const std::string svg =
      head_picture(weights, {.title = "a < b", .rows = {"▁Zeile", "</s>"}, .columns = {"▁the", "▁row", "."}});
  EXPECT_THAT(svg, HasSubstr(">Zeile</text>"));
  EXPECT_THAT(svg, HasSubstr(">&lt;/s&gt;</text>"));
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  EXPECT_THAT(svg, HasSubstr("fill-opacity='0.750'"));
  EXPECT_THAT(svg, HasSubstr(">0.20</text>"));
  EXPECT_THAT(svg, Not(HasSubstr(">0.05</text>")));  // too small for its number
  std::size_t cells = 0;
  for (std::size_t at = 0; (at = svg.find("fill-opacity", at)) != std::string::npos; ++at) ++cells;
  EXPECT_EQ(cells, 6);
}

TEST(HeadPicture, a_view_of_one_head_is_read_by_its_strides) {
  const Tensor weights = from(std::vector<float>{0.25f, 0.75f, 1.0f, 0.0f}, {2, 2});
  const Tensor turned = weights.strided({2, 2}, {1, 2}, 0);
  const std::string svg = head_picture(turned, {.title = "", .rows = {"a", "b"}, .columns = {"c", "d"}});
  EXPECT_LT(svg.find("'0.250'"), svg.find("'1.000'"));
  EXPECT_LT(svg.find("'1.000'"), svg.find("'0.750'"));
}

TEST(HeadPicture, labels_that_do_not_fit_are_an_error) {
  EXPECT_THROW(head_picture(zeros({2, 3}), {.title = "", .rows = {"a"}, .columns = {"b", "c", "d"}}), Error);
  EXPECT_THROW(head_picture(zeros({3}), {.title = "", .rows = {"a"}, .columns = {"b", "c", "d"}}), Error);
}

}  // namespace
}  // namespace headway::inspect
