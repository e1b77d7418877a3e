#include <headway/ops/views.h>

#include <gmock/gmock.h>

#include <support/registry.h>

namespace headway {
namespace {

using testing::OpCase;
using testing::random;
using Tensors = std::vector<Tensor>;

constexpr testing::Tolerance kExact{0, 0};

OpCase of(std::string name, testing::Function run, Tensors inputs) {
  return {std::move(name), std::move(run), std::move(inputs), kExact};
}

std::vector<OpCase> reshape_small() {
  const auto to = [](const Shape& shape) {
    return [shape](const Tensors& in) { return Tensors{reshape(in[0], shape)}; };
  };
  return {
      of("split a dimension", to({2, 3, 4}), {random({2, 12}, 1)}),
      of("merge", to({6, 4}), {random({2, 3, 4}, 1)}),
      of("guess", to({3, -1}), {random({2, 3, 4}, 1)}),
      of("to a scalar", to({}), {random({1, 1}, 1)}),
      of("empty", to({0, 7}), {random({3, 0}, 1)}),
      of("transposed first", [](const Tensors& in) { return Tensors{reshape(transpose(in[0], 0, 1), {-1})}; },
         {random({3, 5}, 1)})};
}
OpCase reshape_large() {
  return of("large", [](const Tensors& in) { return Tensors{reshape(transpose(in[0], 0, 1), {-1})}; },
            {random({300, 301}, 1)});
}
HEADWAY_OP_SUITE(reshape, reshape_small, reshape_large)

std::vector<OpCase> transpose_small() {
  std::vector<OpCase> cases;
  for (const auto& [a, b] : std::vector<std::pair<int, int>>{{0, 1}, {0, 2}, {-1, -2}, {1, 1}}) {
    cases.push_back(of("swap", [a = a, b = b](const Tensors& in) { return Tensors{transpose(in[0], a, b)}; },
                       {random({2, 3, 5}, 1)}));
  }
  return cases;
}
OpCase transpose_large() {
  return of("large", [](const Tensors& in) { return Tensors{transpose(in[0], 0, 2)}; },
            {random({50, 30, 40}, 1)});
}
HEADWAY_OP_SUITE(transpose, transpose_small, transpose_large)

std::vector<OpCase> slice_small() {
  const auto cut = [](int dim, std::int64_t begin, std::int64_t end) {
    return of("slice", [=](const Tensors& in) { return Tensors{slice(in[0], dim, begin, end)}; },
              {random({4, 3, 5}, 1)});
  };
  return {cut(0, 1, 3), cut(1, 0, 1), cut(2, 2, 5), cut(-1, 0, 5), cut(0, 4, 4), cut(1, 0, 0)};
}
OpCase slice_large() {
  return of("large", [](const Tensors& in) { return Tensors{slice(in[0], 1, 3, 120)}; },
            {random({500, 131}, 1)});
}
HEADWAY_OP_SUITE(slice, slice_small, slice_large)

std::vector<OpCase> split_small() {
  return {of("last",
             [](const Tensors& in) {
               return split(in[0], {2, 0, 3}, -1);
             },
             {random({4, 5}, 1)}),
          of("first",
             [](const Tensors& in) {
               return split(in[0], {1, 3}, 0);
             },
             {random({4, 5}, 1)}),
          of("one part unused",
             [](const Tensors& in) {
               return Tensors{split(in[0], {1, 3}, 0)[1]};
             },
             {random({4, 5}, 1)})};
}
OpCase split_large() {
  return of("large", [](const Tensors& in) { return split(in[0], {100, 31}, 1); }, {random({500, 131}, 1)});
}
HEADWAY_OP_SUITE(split, split_small, split_large)

std::vector<OpCase> concat_small() {
  const auto join = [](int dim) { return [dim](const Tensors& in) { return Tensors{concat(in, dim)}; }; };
  return {of("rows", join(0), {random({2, 3}, 1), random({1, 3}, 2), random({0, 3}, 3)}),
          of("columns", join(-1), {random({2, 3}, 1), random({2, 4}, 2)}),
          of("one part", join(0), {random({2, 3}, 1)})};
}
OpCase concat_large() {
  return of("large", [](const Tensors& in) { return Tensors{concat(in, 1)}; },
            {random({500, 131}, 1), random({500, 70}, 2)});
}
HEADWAY_OP_SUITE(concat, concat_small, concat_large)

std::vector<OpCase> contiguous_small() {
  return {of("transposed", [](const Tensors& in) { return Tensors{contiguous(transpose(in[0], 0, 1))}; },
             {random({3, 5}, 1)}),
          of("as it is", [](const Tensors& in) { return Tensors{contiguous(in[0])}; }, {random({3, 5}, 1)})};
}
OpCase contiguous_large() {
  return of("large", [](const Tensors& in) { return Tensors{contiguous(transpose(in[0], 0, 1))}; },
            {random({303, 305}, 1)});
}
HEADWAY_OP_SUITE(contiguous, contiguous_small, contiguous_large)

std::vector<OpCase> cast_small() {
  std::vector<OpCase> cases;
  for (const std::int64_t n : {0, 1, 15, 16, 17, 33, 65}) {
    cases.push_back(of("to float64", [](const Tensors& in) { return Tensors{cast(in[0], DType::float64)}; },
                       {random({2, n}, 1)}));
  }
  return cases;
}
OpCase cast_large() {
  return of("large",
            [](const Tensors& in) { return Tensors{cast(cast(in[0], DType::bfloat16), DType::float32)}; },
            {random({500, 131}, 1)});
}
HEADWAY_OP_SUITE(cast, cast_small, cast_large)

HEADWAY_OP_CHECK(copy_into, reference) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float64, DType::float16}) {
    const Tensor source = from<std::int32_t>({1, 2, 3, 4, 5, 6}, {2, 3});
    const Tensor target = zeros({3, 4}, dtype);
    copy_into(transpose(slice(target, 1, 1, 3), 0, 1), source);
    EXPECT_THAT(testing::values_of(target), (std::vector<double>{0, 1, 4, 0, 0, 2, 5, 0, 0, 3, 6, 0}));
  }
}
HEADWAY_OP_CHECK(copy_into, meta) {
  const Tensor target = Tensor::empty({2, 3}, DType::float32, Device::meta);
  const auto before = target.version();
  copy_into(target, ones({2, 3}));
  EXPECT_GT(target.version(), before);
  EXPECT_THROW(copy_into(ones({2, 3}), target), Error);
}
HEADWAY_OP_CHECK(copy_into, threads) {
  const auto run = [](const Tensors& in) {
    Tensor target = zeros({303, 301}, in[0].dtype());
    copy_into(transpose(target, 0, 1), in[0]);
    return Tensors{target};
  };
  OpCase op = of("copy_into", run, {random({301, 303}, 1)});
  op.differentiable = false;
  testing::check_threads(op, DType::float32);
}
HEADWAY_OP_CHECK(copy_into, non_contiguous) {
  const Tensor source = random({3, 5}, 1);
  const Tensor target = testing::every_other(zeros({3, 5}));
  copy_into(target, testing::padded_rows(source));
  testing::expect_bitwise_equal(target, cast(source, DType::float32), "copy_into");
}

TEST(Views, share_the_elements_and_copy_nothing) {
  const Tensor x = random({4, 6}, 1);
  for (const Tensor& view : {reshape(x, {2, 2, 6}), transpose(x, 0, 1), slice(x, 1, 2, 5),
                             split(x, {2, 4}, 1)[1], reshape(slice(x, 1, 0, 4), {4, 2, 2})}) {
    EXPECT_EQ(&view.storage(), &x.storage());
  }
}

TEST(Views, reshape_of_any_layout_gives_the_elements_in_order) {
  const Tensor x = random({2, 3, 4, 5}, 1);
  const std::vector<Tensor> layouts = {x,
                                       transpose(x, 0, 1),
                                       transpose(x, 1, 2),
                                       slice(x, 2, 1, 3),
                                       slice(x, 0, 1, 2),
                                       transpose(slice(x, 3, 0, 1), 0, 3),
                                       slice(slice(x, 1, 1, 2), 3, 2, 4)};
  for (const Tensor& layout : layouts) {
    const auto want = layout.to_vector<double>();
    const std::int64_t n = layout.numel();
    for (const Shape& shape :
         {Shape{n}, Shape{2, n / 2}, Shape{1, n / 4, 1, 4}, Shape{n / 2, 2, 1}, Shape{2, 2, n / 4}}) {
      if (shape.numel() != n) continue;
      EXPECT_EQ(reshape(layout, shape).to_vector<double>(), want)
          << layout.strides().str() << " to " << shape.str();
    }
  }
}

TEST(Views, writing_through_one_is_seen_by_a_saved_tensor) {
  const Tensor x = random({4}, 1), y = require_grad(random({4}, 2));
  const Tensor loss = sum(mul(x, y));
  copy_into(slice(x, 0, 0, 1), zeros({1}, DType::float64));
  EXPECT_THROW(loss.backward(), Error);
}

TEST(Views, what_does_not_fit_is_refused) {
  const Tensor x = zeros({2, 6});
  EXPECT_THROW(reshape(x, {5, -1}), Error);
  EXPECT_THROW(reshape(x, {-1, -1}), Error);
  EXPECT_THROW(reshape(x, {13}), Error);
  EXPECT_THROW(reshape(zeros({0}), {0, -1}), Error);
  EXPECT_THROW(transpose(x, 0, 2), Error);
  EXPECT_THROW(slice(x, 1, 2, 7), Error);
  EXPECT_THROW(slice(x, 1, 3, 2), Error);
  EXPECT_THROW(split(x, {2, 3}, 1), Error);
  EXPECT_THROW(split(x, {7, -1}, 1), Error);
  EXPECT_THROW(concat({}, 0), Error);
  EXPECT_THROW(concat({x, zeros({3, 5})}, 0), Error);
  EXPECT_THROW(concat({x, zeros({2, 6}, DType::bfloat16)}, 0), Error);
  EXPECT_THROW(copy_into(x, zeros({6, 2})), Error);
}

TEST(Cast, converts_between_all_dtypes) {
  const std::vector<DType> all = {DType::float32, DType::float64, DType::bfloat16, DType::float16,
                                  DType::int32,   DType::int64,   DType::boolean};
  const Tensor x = from<std::int64_t>({0, 1, 1, 0, 1}, {5});
  for (const DType a : all) {
    for (const DType b : all) {
      const Tensor y = cast(cast(cast(x, a), b), DType::int64);
      EXPECT_EQ(y.to_vector<std::int64_t>(), x.to_vector<std::int64_t>())
          << name_of(a) << " to " << name_of(b);
    }
  }
}

TEST(Cast, vectors_round_to_bfloat16_as_scalars_do) {
  std::vector<float> values;
  for (std::uint32_t word = 0; word < 0xfff00000u; word += 65521)
    values.push_back(std::bit_cast<float>(word));
  for (const std::uint32_t word :
       {0x7f7fffffu, 0x7f800000u, 0x7f800001u, 0xffffffffu, 0x3f808000u, 0x3f818000u}) {
    values.push_back(std::bit_cast<float>(word));
  }
  const auto count = static_cast<std::int64_t>(values.size());
  const auto got = cast(from(values, {count}), DType::bfloat16).to_vector<bfloat16>();
  for (std::size_t i = 0; i < values.size(); ++i)
    ASSERT_EQ(got[i].bits, bfloat16(values[i]).bits) << values[i];
}

}  // namespace
}  // namespace headway
