// What linear and embedding promise where nothing is recorded.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/core/parallel.h>
#include <headway/ops/embedding.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>
#include <support/compare.h>
#include <support/random.h>

namespace headway {
namespace {

using testing::expect_bitwise_equal;
using testing::random;

constexpr DType kDTypes[] = {DType::float32, DType::bfloat16};

// The same elements on demand, made whole or row by row.
Tensor on_demand(const Tensor& values, bool by_rows) {
  const auto row = static_cast<std::size_t>(values.numel() / values.size(0)) * size_of(values.dtype());
  const auto* from = static_cast<const char*>(values.raw());
  const auto copy = [values, row, from](void* out, std::int64_t first, std::int64_t count) {
    std::memcpy(out, from + static_cast<std::size_t>(first) * row, static_cast<std::size_t>(count) * row);
  };
  if (by_rows) return Tensor::on_demand(values.shape(), values.dtype(), copy);
  return Tensor::on_demand(values.shape(), values.dtype(),
                           [copy, rows = values.size(0)](void* out) { copy(out, 0, rows); });
}

TEST(LinearInference, rows_have_the_same_bits_in_any_batch_and_through_any_view) {
  for (const DType dtype : kDTypes) {
    const Tensor x = random({50, 96}, 1, dtype), w = random({200, 96}, 2, DType::float32);
    const Tensor all = linear(x, w, {}, {.activation = Activation::gelu});
    for (const std::int64_t row : {0, 7, 49}) {
      const Tensor one = slice(x, 0, row, row + 1);
      expect_bitwise_equal(linear(one, w, {}, {.activation = Activation::gelu}),
                           contiguous(slice(all, 0, row, row + 1)), "alone");
    }
    const Tensor padded = testing::padded_rows(x);
    expect_bitwise_equal(linear(padded, w, {}, {.activation = Activation::gelu}), all, "rows apart");
    const Tensor last = padded.strided({10, 1, 96}, {5 * padded.stride(0), padded.stride(0), 1},
                                       padded.offset() + 4 * padded.stride(0));
    const Tensor y = linear(last, w, {}, {.activation = Activation::gelu});
    for (std::int64_t i = 0; i < 10; ++i) {
      expect_bitwise_equal(contiguous(reshape(slice(y, 0, i, i + 1), {1, 200})),
                           contiguous(slice(all, 0, 5 * i + 4, 5 * i + 5)), "every fifth row");
    }
  }
}

TEST(LinearInference, heads_have_the_bits_of_the_combined_product) {
  for (const DType dtype : kDTypes) {
    const Tensor x = random({9, 48}, 1, dtype), w = random({64, 48}, 2, DType::float32);
    const Tensor heads = linear_heads(x, {slice(w, 0, 0, 32), slice(w, 0, 32, 64)}, {});
    expect_bitwise_equal(contiguous(reshape(heads, {9, 64})), linear(x, w), "heads");
  }
}

TEST(LinearInference, sliced_heads_read_their_own_columns) {
  const Tensor x = random({9, 48}, 1, DType::float32);
  const Tensor first = random({5, 24}, 2, DType::float32), second = random({5, 24}, 3, DType::float32);
  const Tensor heads = linear_heads(x, {first, second}, {}, true);
  expect_bitwise_equal(contiguous(slice(heads, 1, 1, 2)),
                       reshape(linear(slice(x, 1, 24, 48), second), {9, 1, 5}), "second head");
}

TEST(LinearInference, a_checkpoint_gives_the_bits_of_the_recorded_product) {
  const Tensor x = random({21, 70}, 1, DType::float32), w = require_grad(random({90, 70}, 2, DType::float32));
  const auto body = [&](const std::vector<Tensor>& in) { return linear(in[0], w); };
  expect_bitwise_equal(checkpoint(body, {x}).detach(), linear(x, w).detach(), "checkpoint");
}

TEST(LinearInference, recorded_and_unrecorded_agree_and_share_a_weight_that_changes) {
  const Tensor x = random({21, 70}, 1, DType::float32), w = require_grad(random({90, 70}, 2, DType::float32));
  for (int step = 0; step < 3; ++step) {
    const Tensor recorded = linear(x, w).detach();
    const NoGrad no_grad;
    testing::expect_close(linear(x, w), recorded, DType::float32, {.steps = 2 * 72}, "validation");
    copy_into(w.detach(), random({90, 70}, 5 + static_cast<std::uint64_t>(step), DType::float32));
  }
}

TEST(LinearInference, a_weight_has_one_packed_form_at_a_time) {
  const Tensor x = random({4, 512}, 1, DType::float32),
               w = require_grad(random({1024, 512}, 2, DType::float32));
  const auto bytes = 1024 * 512 * 4;
  const auto before = memory_stats().current;
  (void)linear(x, w);
  EXPECT_GE(memory_stats().current - before, bytes) << "packed for training";
  const NoGrad no_grad;
  (void)linear(x, w);
  const auto held = memory_stats().current - before;
  EXPECT_GE(held, bytes);
  EXPECT_LT(held, bytes * 3 / 2) << "the form for inference replaces the other";
}

TEST(LinearInference, parameters_may_be_stored_in_half_precision) {
  for (const DType stored : {DType::bfloat16, DType::float16}) {
    const Tensor w = random({40, 30}, 1, stored), b = random({40}, 2, stored);
    for (const DType dtype : kDTypes) {
      const Tensor x = random({6, 30}, 3, dtype);
      const Tensor wide = cast(w, DType::float32), bias = cast(b, DType::float32);
      expect_bitwise_equal(linear(x, w, b), linear(x, wide, bias), "stored");
      EXPECT_THROW(linear(require_grad(x.detach()), cast(w, DType::float16), b), Error);
    }
  }
}

TEST(LinearInference, a_weight_on_demand_never_exists_unpacked) {
  for (const bool by_rows : {true, false}) {
    for (const DType dtype : kDTypes) {
      const Tensor w = random({3000, 256}, 1, DType::float32), x = random({3, 256}, 2, dtype);
      const Tensor want = linear(x, w), lazy = on_demand(w, by_rows);
      release_cached_memory();
      const auto before = memory_stats().current;
      reset_peak();
      expect_bitwise_equal(linear(x, lazy), want, "on demand");
      EXPECT_TRUE(lazy.storage().on_demand());
      const auto packed = static_cast<std::int64_t>(3000 * 256 * size_of(dtype));
      const auto peak = memory_stats().peak - before;
      EXPECT_GE(peak, packed);
      // Pieces of 32 rows, one for each thread, beside the packed form; else a copy while it is made.
      if (by_rows) {
        EXPECT_LE(peak, packed * 115 / 100 + threads() * 32 * 256 * 4);
      }
      EXPECT_LE(memory_stats().current - before, packed * 115 / 100);
    }
  }
}

TEST(LinearInference, a_view_of_a_weight_on_demand_is_packed_for_itself) {
  const Tensor w = random({128, 20}, 1, DType::float32), x = random({3, 20}, 2, DType::float32);
  for (const bool by_rows : {true, false}) {
    const Tensor lazy = on_demand(w, by_rows);
    expect_bitwise_equal(linear(x, lazy.strided({40, 20}, {20, 1}, 7 * 20)), linear(x, slice(w, 0, 7, 47)),
                         "rows");
    const Tensor some = random({3, 8}, 3, DType::float32);
    expect_bitwise_equal(linear(some, lazy.strided({128, 8}, {20, 1}, 5)), linear(some, slice(w, 1, 5, 13)),
                         "columns");
    EXPECT_TRUE(lazy.storage().on_demand());
  }
}

TEST(EmbeddingInference, rows_of_a_table_on_demand_are_the_tables) {
  const Tensor ids = testing::random_ids({3, 7}, 100, 1), places = testing::random_ids({3, 7}, 4, 2);
  const Tensor positions = random({4, 33}, 3, DType::float32);
  for (const DType source : {DType::float32, DType::bfloat16, DType::float16}) {
    const Tensor table = random({100, 33}, 4, source);
    for (const DType output : kDTypes) {
      // The table as it is read: rounded to the output's dtype before it is scaled.
      const Tensor rounded = cast(cast(table, output), DType::float32);
      const EmbeddingOptions how{
          .scale = 3, .output = output, .positions = positions, .position_ids = places};
      const Tensor want = embedding(ids, rounded, how);
      for (const bool by_rows : {true, false}) {
        for (const bool tied : {true, false}) {
          const Tensor lazy = on_demand(table, by_rows);
          if (tied) (void)linear(random({1, 33}, 5, output), lazy);
          expect_bitwise_equal(embedding(ids, lazy, how), want, "on demand");
          EXPECT_TRUE(lazy.storage().on_demand());
        }
      }
    }
  }
}

TEST(EmbeddingInference, a_table_tied_to_the_output_layer_exists_once) {
  const Tensor table = random({4000, 64}, 1, DType::float32), lazy = on_demand(table, false);
  const auto before = memory_stats().current;
  const Tensor x = embedding(testing::random_ids({5}, 4000, 2), lazy);
  (void)linear(x, lazy);
  EXPECT_LT(memory_stats().current - before, 4000 * 64 * 4 * 5 / 4);
  EXPECT_TRUE(lazy.storage().on_demand());
}

TEST(EmbeddingInference, a_table_that_is_trained_is_made) {
  const Tensor lazy = require_grad(on_demand(random({10, 4}, 1, DType::float32), true));
  sum(embedding(testing::random_ids({5}, 10, 2), lazy)).backward();
  EXPECT_TRUE(lazy.grad().defined());
}

}  // namespace
}  // namespace headway
