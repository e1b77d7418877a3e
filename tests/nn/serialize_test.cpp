#include <headway/nn/serialize.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/factory.h>
#include <headway/io/safetensors.h>

#include "io/temporary.h"

namespace headway::nn {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Inner : Module {
  explicit Inner(double value) { weight = add_parameter("weight", full({2, 3}, value)); }
  Tensor weight;
};
struct Outer : Module {
  explicit Outer(double value) : inner(value) {
    add_child("inner", inner);
    bias = add_parameter("bias", full({3}, value));
  }
  Inner inner;
  Tensor bias;
};

TEST(Serialize, a_module_comes_back_by_name) {
  const test::TemporaryFolder folder;
  const Outer saved(2);
  io::save(saved, folder / "m.safetensors");
  Outer loaded(0);
  const auto version = loaded.bias.version();
  io::load(loaded, folder / "m.safetensors");
  EXPECT_EQ(loaded.inner.weight.to_vector<float>(), saved.inner.weight.to_vector<float>());
  EXPECT_EQ(loaded.bias.to_vector<float>(), saved.bias.to_vector<float>());
  EXPECT_GT(loaded.bias.version(), version);
}

TEST(Serialize, floating_types_are_converted) {
  const test::TemporaryFolder folder;
  io::save_safetensors(folder / "m", {{"bias", full({3}, 1.5, DType::bfloat16)},
                                      {"inner.weight", full({2, 3}, 2.5, DType::float64)}});
  Outer loaded(0);
  io::load(loaded, folder / "m");
  EXPECT_EQ(loaded.bias.to_vector<float>(), (std::vector<float>(3, 1.5F)));
  EXPECT_EQ(loaded.inner.weight.to_vector<float>(), (std::vector<float>(6, 2.5F)));
}

TEST(Serialize, what_does_not_fit_is_listed_and_nothing_changes) {
  const test::TemporaryFolder folder;
  io::save_safetensors(folder / "m",
                       {{"bias", zeros({3})}, {"inner.weight", zeros({3, 2})}, {"more", zeros({1})}});
  Outer loaded(7);
  try {
    io::load(loaded, folder / "m");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::format);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("\"inner.weight\" is float32 [3, 2], want float32 [2, 3]"),
                                    HasSubstr("\"more\" is not wanted")));
  }
  EXPECT_EQ(loaded.bias.to_vector<float>(), (std::vector<float>(3, 7.0F)));
  io::save_safetensors(folder / "ids", {{"bias", zeros({3}, DType::int32)}, {"inner.weight", zeros({2, 3})}});
  EXPECT_THROW(io::load(loaded, folder / "ids"), Error);
}

}  // namespace
}  // namespace headway::nn
