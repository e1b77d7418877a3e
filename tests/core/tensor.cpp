#include <headway/core/tensor.h>

#include <gmock/gmock.h>

#include <cmath>

#include <headway/core/factory.h>

namespace headway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename Body>
Error error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorCode::internal, "", "");
}

TEST(Shape, counts_and_indexes_from_both_ends) {
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.numel(), 30);
  EXPECT_EQ(shape[-1], 5);
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape.str(), "[2, 3, 5]");
  EXPECT_EQ(Shape().numel(), 1);
  EXPECT_EQ(error_of([&] { (void)shape[3]; }).code(), ErrorCode::shape);
  EXPECT_EQ(error_of([&] { (void)shape[-4]; }).code(), ErrorCode::shape);
  EXPECT_EQ(contiguous_strides(shape), (Strides{15, 5, 1}));
}

TEST(Shape, refuses_more_dimensions_and_elements_than_it_can_count) {
  EXPECT_EQ(error_of([] { Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}; }).code(), ErrorCode::shape);
  EXPECT_EQ(error_of([] {
              (void)Shape{std::int64_t{1} << 40, std::int64_t{1} << 40}.numel();
            }).code(),
            ErrorCode::shape);
  EXPECT_EQ(error_of([] { Tensor::empty({std::int64_t{1} << 62}, DType::float64); }).code(),
            ErrorCode::shape);
  EXPECT_EQ(error_of([] { Tensor::empty({2, -1}); }).code(), ErrorCode::shape);
}

TEST(Shape, broadcasts_as_numpy_does) {
  EXPECT_EQ(broadcast_shapes("add", {4, 1, 3}, {5, 1}), (Shape{4, 5, 3}));
  EXPECT_EQ(broadcast_shapes("add", {}, {2}), (Shape{2}));
  EXPECT_EQ(broadcast_shapes("add", {0, 1}, {1, 3}), (Shape{0, 3}));
  EXPECT_THAT(error_of([] { broadcast_shapes("add", {2, 3}, {2}); }).what(), HasSubstr("[2, 3] and [2]"));
}

TEST(Tensor, elements_on_demand_are_written_by_the_first_read_and_kept) {
  int calls = 0;
  const Tensor x = Tensor::on_demand({2, 2}, DType::float32, [&calls](void* out) {
    ++calls;
    for (int i = 0; i < 4; ++i) static_cast<float*>(out)[i] = static_cast<float>(i);
  });
  EXPECT_TRUE(x.storage().on_demand());
  std::vector<float> copy(4);
  x.storage().copy_to(copy.data());
  EXPECT_THAT(copy, ElementsAre(0, 1, 2, 3));
  EXPECT_TRUE(x.storage().on_demand()) << "a copy leaves them on demand";
  EXPECT_EQ(x.strided({2}, {2}, 1).to_vector<float>()[1], 3);
  EXPECT_FALSE(x.storage().on_demand());
  x.data<float>()[0] = 7;
  x.storage().copy_to(copy.data());
  EXPECT_THAT(copy, ElementsAre(7, 1, 2, 3)) << "what was written since is copied";
  EXPECT_EQ(calls, 2);
}

TEST(Tensor, rows_on_demand_are_made_by_the_piece_or_all_at_once) {
  const Tensor x =
      Tensor::on_demand({3, 2}, DType::float32, [](void* out, std::int64_t first, std::int64_t count) {
        for (std::int64_t i = 0; i < 2 * count; ++i)
          static_cast<float*>(out)[i] = static_cast<float>(2 * first + i);
      });
  EXPECT_EQ(x.storage().piece(), 8u);
  std::vector<float> rows(4);
  x.storage().copy_part(rows.data(), 8, 16);
  EXPECT_THAT(rows, ElementsAre(2, 3, 4, 5));
  EXPECT_TRUE(x.storage().on_demand());
  for (const std::pair<std::size_t, std::size_t> part :
       {std::pair(4, 8), std::pair(8, 4), std::pair(16, 16)}) {
    EXPECT_EQ(error_of([&] { x.storage().copy_part(rows.data(), part.first, part.second); }).code(),
              ErrorCode::value);
  }
  EXPECT_THAT(x.to_vector<float>(), ElementsAre(0, 1, 2, 3, 4, 5));
  x.storage().copy_part(rows.data(), 4, 4);
  EXPECT_EQ(rows[0], 1) << "any bytes, once they exist";
}

TEST(Tensor, elements_on_demand_whose_maker_throws_can_be_asked_for_again) {
  bool broken = true;
  const Tensor x = Tensor::on_demand({1}, DType::float32, [&broken](void* out) {
    if (broken) fail(ErrorCode::io, "read", "the file is gone");
    *static_cast<float*>(out) = 4;
  });
  EXPECT_EQ(error_of([&] { (void)x.data<float>(); }).code(), ErrorCode::io);
  broken = false;
  EXPECT_EQ(x.item<float>(), 4);
}

TEST(Tensor, copies_are_handles_of_the_same_elements) {
  const Tensor x = zeros({3});
  const Tensor y = x;
  y.data<float>()[1] = 5;
  EXPECT_THAT(x.to_vector<float>(), ElementsAre(0, 5, 0));
  EXPECT_TRUE(x.is_same(y));
  EXPECT_FALSE(x.is_unique());
}

TEST(Tensor, strided_views_read_in_their_own_order) {
  const Tensor x = arange(6, DType::int32);
  const Tensor t = x.strided({3, 2}, {1, 3}, 0);
  EXPECT_THAT(t.to_vector<std::int32_t>(), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_FALSE(t.is_contiguous());
  EXPECT_TRUE(x.strided({1, 6}, {99, 1}, 0).is_contiguous());
  EXPECT_TRUE(x.strided({2, 0}, {7, 7}, 0).is_contiguous());
}

TEST(Tensor, views_beyond_their_storage_are_refused) {
  const Tensor x = zeros({6});
  EXPECT_EQ(error_of([&] { x.strided({2, 3}, {4, 1}, 0); }).code(), ErrorCode::shape);
  EXPECT_EQ(error_of([&] { x.strided({2}, {1}, 5); }).code(), ErrorCode::shape);
  EXPECT_EQ(error_of([&] { x.strided({2}, {1}, -1); }).code(), ErrorCode::shape);
  EXPECT_EQ(error_of([&] { x.strided({2}, {1, 1}, 0); }).code(), ErrorCode::shape);
}

TEST(Tensor, elements_are_given_only_as_what_they_are) {
  const Tensor x = zeros({2});
  EXPECT_THAT(error_of([&] { x.data<double>(); }).what(), HasSubstr("float32, asked for as float64"));
  EXPECT_EQ(error_of([&] { x.item<float>(); }).code(), ErrorCode::shape);
  EXPECT_EQ(error_of([] { Tensor().shape(); }).code(), ErrorCode::value);
  EXPECT_EQ(full({}, 3).item<float>(), 3);
}

TEST(Tensor, on_meta_has_shape_and_type_and_no_elements) {
  const Tensor x = Tensor::empty({1 << 20, 1 << 20}, DType::float64, Device::meta);
  EXPECT_EQ(x.numel(), std::int64_t{1} << 40);
  EXPECT_EQ(error_of([&] { x.data<double>(); }).code(), ErrorCode::unsupported);
}

TEST(Tensor, views_share_one_version) {
  const Tensor x = zeros({4});
  const Tensor view = x.strided({2}, {1}, 2);
  const auto before = x.version();
  view.bump_version();
  EXPECT_EQ(x.version(), before + 1);
}

TEST(Tensor, wrapped_memory_is_kept_alive_by_its_owner) {
  auto values = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3});
  std::weak_ptr<std::vector<float>> watch = values;
  Tensor x = Tensor::wrap(values->data(), {3}, DType::float32, values);
  values.reset();
  EXPECT_FALSE(watch.expired());
  EXPECT_THAT(x.to_vector<float>(), ElementsAre(1, 2, 3));
  x = Tensor();
  EXPECT_TRUE(watch.expired());
}

TEST(Factory, gives_what_is_asked) {
  EXPECT_THAT(full({2}, 1.5, DType::bfloat16).to_vector<bfloat16>()[0].bits, 0x3fc0);
  EXPECT_THAT(arange(3).to_vector<std::int64_t>(), ElementsAre(0, 1, 2));
  EXPECT_THAT(ones({2}, DType::boolean).to_vector<bool>(), ElementsAre(true, true));
  EXPECT_EQ(error_of([] { from<float>({1, 2, 3}, {2}); }).code(), ErrorCode::shape);
}

TEST(Factory, normal_numbers_have_mean_zero_and_deviation_one) {
  Generator generator(1);
  const std::int64_t n = 1 << 16;
  double mean = 0, square = 0;
  for (const double value : randn({n}, generator, DType::float64).to_vector<double>()) {
    mean += value / static_cast<double>(n);
    square += value * value / static_cast<double>(n);
  }
  // Five deviations of the mean and of the mean square (variance 2).
  EXPECT_NEAR(mean, 0, 5 / 256.0);
  EXPECT_NEAR(square, 1, 5 * std::sqrt(2.0) / 256.0);
  EXPECT_EQ(generator.next_call(), 1u);
}

TEST(Errors, name_operation_and_code) {
  const Error error = error_of([] { fail(ErrorCode::io, "read", "file is gone"); });
  EXPECT_STREQ(error.what(), "read: file is gone");
  EXPECT_EQ(error.operation(), "read");
  EXPECT_EQ(name_of(error.code()), "io");
}

}  // namespace
}  // namespace headway
