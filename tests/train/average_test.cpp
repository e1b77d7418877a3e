#include <headway/train/average.h>

#include <gtest/gtest.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>

#include "io/temporary.h"

namespace headway::train {
namespace {

TEST(ExponentialAverage, follows_the_recurrence_with_its_growing_memory) {
  const Tensor w = full({37}, 1, DType::float64);
  ExponentialAverage average({{"w", w}}, 0.3);
  double expected = 1;
  for (int t = 1; t <= 6; ++t) {
    w.data<double>()[36] = t;
    average.update();
    const double keep = std::min(0.3, (1.0 + t) / (10 + t));
    expected = keep * expected + (1 - keep) * t;
    EXPECT_NEAR(average.state()[0].tensor.data<double>()[36], expected, 1e-14);
  }
}

TEST(ExponentialAverage, is_in_use_for_a_scope_and_the_weights_come_back_bit_for_bit) {
  Generator generator(1);
  const Tensor w = randn({1000}, generator);
  const auto start = w.to_vector<float>();
  ExponentialAverage average({{"w", w}}, 0.9);
  std::copy_n(randn({1000}, generator).data<float>(), 1000, w.data<float>());
  const auto trained = w.to_vector<float>();
  const auto version = w.version();
  {
    const ExponentialAverage::InUse use(&average);
    EXPECT_EQ(w.to_vector<float>(), start);
    EXPECT_GT(w.version(), version);
  }
  EXPECT_EQ(w.to_vector<float>(), trained);
  { const ExponentialAverage::InUse none(nullptr); }
}

TEST(AverageFiles, is_the_mean_of_the_checkpoints) {
  const test::TemporaryFolder folder;
  io::save_safetensors(folder / "1", {{"w", full({3}, 1)}, {"n", full({}, 5, DType::int64)}});
  io::save_safetensors(folder / "2", {{"w", full({3}, 2)}, {"n", full({}, 6, DType::int64)}});
  io::save_safetensors(folder / "3", {{"w", full({3}, 6)}, {"n", full({}, 7, DType::int64)}});
  for (const auto& [name, tensor] : average_files({folder / "1", folder / "2", folder / "3"})) {
    if (name == "w") {
      EXPECT_EQ(tensor.to_vector<float>(), (std::vector<float>{3, 3, 3}));
    }
  }
  io::save_safetensors(folder / "4", {{"v", full({3}, 6)}});
  EXPECT_THROW(average_files({folder / "1", folder / "4"}), Error);
  EXPECT_THROW(average_files({}), Error);
}

}  // namespace
}  // namespace headway::train
