// bfloat16 multiplied in pairs: what two keys or two queries in one word must not change.
#include <headway/ops/attention.h>

#include <gmock/gmock.h>

#include <limits>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/kernels/attention.h>
#include <headway/ops/explain.h>
#include <headway/ops/pointwise.h>
#include <support/compare.h>
#include <support/op_case.h>
#include <support/random.h>

namespace headway {
namespace {

using testing::random;
using Tensors = std::vector<Tensor>;

class AttentionPairs : public ::testing::Test {
 protected:
  void SetUp() override {
    before_ = kernels::set_pair_products(kernels::PairProducts::always);
    const Tensor x = Tensor::empty({1, 4, 1, 4}, DType::bfloat16, Device::meta);
    if (explain_attention(x, x, x, {}).str().find("in pairs") == std::string::npos)
      GTEST_SKIP() << "neither AVX2 alone nor the instructions of AVX-512 BF16";
  }
  void TearDown() override { kernels::set_pair_products(before_); }

 private:
  kernels::PairProducts before_ = kernels::PairProducts::best;
};

Tensors run(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  const Tensor a = require_grad(q.detach()), b = require_grad(k.detach()), c = require_grad(v.detach());
  const Tensor out = attention(a, b, c, options).output;
  sum(mul(out, random(out.shape(), 42, out.dtype()))).backward();
  return {out, a.grad(), b.grad(), c.grad()};
}

Tensors run_on(std::int64_t queries, std::int64_t keys, DType dtype, const AttentionOptions& options) {
  const auto draw = [&](std::int64_t length, unsigned seed) {
    return cast(random({2, length, 2, 32}, seed, DType::bfloat16), dtype);
  };
  return run(draw(queries, 1), draw(keys, 2), draw(keys, 3), options);
}

TEST_F(AttentionPairs, differ_from_widened_products_by_the_rounding_of_weights) {
  for (const std::int64_t queries : {2, 7, 65, 130}) {
    for (const std::int64_t keys : {3, 64, 129}) {
      const auto pairs = run_on(queries, keys, DType::bfloat16, {});
      const auto exact = run_on(queries, keys, DType::float64, {});
      kernels::set_pair_products(kernels::PairProducts::never);
      const auto widened = run_on(queries, keys, DType::bfloat16, {});
      kernels::set_pair_products(kernels::PairProducts::always);
      bool differ = false;
      for (std::size_t i = 0; i < exact.size(); ++i) {
        const auto got = testing::values_of(pairs[i]), near = testing::values_of(widened[i]),
                   want = testing::values_of(exact[i]);
        double square = 0, error = 0;
        for (std::size_t n = 0; n < want.size(); ++n) {
          square += want[n] * want[n];
          error += (got[n] - want[n]) * (got[n] - want[n]);
          differ = differ || got[n] != near[n];
        }
        EXPECT_LE(std::sqrt(error / square), 2 * testing::unit_roundoff(DType::bfloat16))
            << queries << " queries, " << keys << " keys, result " << i;
      }
      EXPECT_TRUE(differ);
    }
  }
}

TEST_F(AttentionPairs, keep_a_hidden_key_out_of_its_neighbours_word) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::int64_t queries = 65, keys = 66;
  const Tensor q = random({1, queries, 1, 32}, 1, DType::bfloat16);
  // Query 64, the last block's only one, sees keys 33 to 64 of the window, and with the list its own.
  const Tensor seen = full({queries, keys}, 0, DType::boolean);
  for (std::int64_t i = 0; i < queries; ++i) seen.data<bool>()[i * keys + 2 * (i % 16) + 1] = true;
  for (const AttentionOptions& options : {AttentionOptions{.mask = Mask::window(31, 0, Align::top_left)},
                                          AttentionOptions{.mask = Mask::allow(seen)}}) {
    for (const std::int64_t bad : {32, 65, 0}) {
      const auto with = [&](float value) {
        const Tensor k = random({1, keys, 1, 32}, 2, DType::bfloat16),
                     v = random({1, keys, 1, 32}, 3, DType::bfloat16);
        for (std::int64_t d = 0; d < 32; ++d) {
          k.data<bfloat16>()[bad * 32 + d] = bfloat16(value);
          v.data<bfloat16>()[bad * 32 + d] = bfloat16(value);
        }
        return run(q, k, v, options);
      };
      const auto got = with(nan), want = with(0.f);
      // Rows of queries that see the key are NaN and rightly so; the last query sees none of them.
      for (const std::size_t i : {0, 1}) {
        testing::expect_bitwise_equal(slice(got[i], 1, queries - 1, queries),
                                      slice(want[i], 1, queries - 1, queries), fmt::format("key {}", bad));
      }
    }
  }
}

TEST_F(AttentionPairs, give_the_same_bits_for_any_number_of_threads_whatever_parity_a_range_has) {
  struct Restore {
    int before = threads();
    ~Restore() { set_threads(before); }
  } restore;
  for (const Mask& mask :
       {Mask::window(31, 0), Mask::window(32, 7), Mask::window(31, 0) | Mask::global({5})}) {
    for (const std::int64_t queries : {65, 300}) {
      set_threads(1);
      const auto want = run_on(queries, queries + 1, DType::bfloat16, {.mask = mask});
      for (const int count : {2, 3, 7}) {
        set_threads(count);
        const auto got = run_on(queries, queries + 1, DType::bfloat16, {.mask = mask});
        for (std::size_t i = 0; i < want.size(); ++i)
          testing::expect_bitwise_equal(got[i], want[i], fmt::format("{}, {} threads", mask.str(), count));
      }
    }
  }
}

TEST_F(AttentionPairs, are_not_taken_where_a_row_does_not_begin_at_a_word) {
  const auto explained = [](std::int64_t dim, std::int64_t value_dim, std::int64_t queries) {
    const auto shaped = [&](std::int64_t n, std::int64_t width) {
      return Tensor::empty({1, n, 2, width}, DType::bfloat16, Device::meta);
    };
    return explain_attention(shaped(queries, dim), shaped(9, dim), shaped(9, value_dim), {}).str();
  };
  EXPECT_THAT(explained(8, 6, 5), ::testing::HasSubstr("in pairs"));
  for (const auto& widened : {explained(7, 8, 5), explained(8, 7, 5), explained(8, 8, 1)})
    EXPECT_THAT(widened, ::testing::HasSubstr("widened"));
}

}  // namespace
}  // namespace headway
