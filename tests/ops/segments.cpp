#include <headway/ops/segments.h>

#include <gmock/gmock.h>

#include <limits>

#include <support/registry.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;

// A sum of at most 40 terms and a division; gradients are one division.
std::vector<OpCase> segment_mean_small() {
  std::vector<OpCase> cases;
  const auto add_case = [&](const Shape& shape, std::vector<std::int64_t> offsets) {
    cases.push_back({shape.str(),
                     [offsets](const Tensors& in) { return Tensors{segment_mean(in[0], offsets)}; },
                     {random(shape, 1, DType::float64, 3)},
                     {42, 2, 1}});
  };
  for (std::int64_t n = 1; n <= 40; n += 3) add_case({n, 5}, {0, n});
  for (std::int64_t c = 1; c <= 18; ++c) add_case({9, c}, {0, 2, 3, 9});
  return cases;
}
OpCase segment_mean_large() {
  return {"large",
          [](const Tensors& in) {
            return Tensors{segment_mean(in[0], {0, 1, 100, 300})};
          },
          {random({300, 133}, 1)},
          {}};
}
HEADWAY_OP_SUITE(segment_mean, segment_mean_small, segment_mean_large)

TEST(SegmentMean, a_nan_stays_in_its_sequence) {
  const Tensor x = ones({5, 2});
  x.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  const auto y = segment_mean(x, {0, 2, 5}).to_vector<float>();
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[2], 1);
  EXPECT_EQ(y[3], 1);
}

TEST(SegmentMean, refuses_offsets_that_do_not_fit) {
  for (const std::vector<std::int64_t>& offsets : {std::vector<std::int64_t>{}, {0, 4}, {1, 5}, {0, 3, 2, 5}})
    EXPECT_THROW(segment_mean(ones({5, 2}), offsets), Error);
  EXPECT_THROW(segment_mean(ones({5, 2}), {0, 2, 2, 5}), Error);
}

}  // namespace
}  // namespace headway
