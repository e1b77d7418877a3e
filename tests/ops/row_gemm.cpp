// Products whose rows do not depend on their number.
#include <headway/kernels/row_gemm.h>

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

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
using testing::values_of;

// Memory that begins `offset` elements into an allocation: not aligned to anything but an element.
struct Elements {
  Elements(const Tensor& values, std::int64_t rows, std::int64_t row, std::int64_t offset)
      : tensor(full({rows * row + offset}, 1e30, values.dtype())), row_stride(row), first(offset) {
    if (values.numel() > 0) copy_into(view(values.size(0), values.size(1)), values);
  }
  Tensor view(std::int64_t rows, std::int64_t columns) const {
    return tensor.strided({rows, columns}, {row_stride, 1}, first);
  }
  Tensor tensor;
  std::int64_t row_stride, first;
};

struct Product {
  Tensor x, w;       // of the same dtype
  Tensor bias = {};  // float32, or undefined
  DType y_dtype = DType::float32;
  kernels::Epilogue epilogue = kernels::Epilogue::none;
};

const void* pack(const Tensor& w, DType dtype, core::Workspace& to) {
  kernels::pack_weight({.n = w.size(0),
                        .k = w.size(1),
                        .dtype = dtype,
                        .packed = to.as<void>(),
                        .rows = w.size(0),
                        .w_dtype = w.dtype(),
                        .w = w.raw(),
                        .w_row = w.stride(0),
                        .w_col = w.stride(1)});
  return to.as<void>();
}

// Y in rows three elements apart, with what lies between them.
Tensor multiply(const Product& p) {
  const std::int64_t m = p.x.size(0), k = p.x.size(1), n = p.w.size(0);
  const DType dtype = p.x.dtype();
  core::Workspace space(kernels::packed_weight_bytes(dtype, n, k));
  const Elements y(Tensor::empty({0, 0}, p.y_dtype), m, n + 3, 1);
  const Tensor out = y.view(m, n);
  kernels::row_gemm({.m = m,
                     .n = n,
                     .k = k,
                     .dtype = dtype,
                     .x = p.x.raw(),
                     .x_row = p.x.stride(0),
                     .w = pack(p.w, dtype, space),
                     .y = out.raw(),
                     .y_row = n + 3,
                     .y_dtype = p.y_dtype,
                     .bias = p.bias.defined() ? p.bias.data<float>() : nullptr,
                     .epilogue = p.epilogue});
  const auto all = values_of(y.tensor);
  const double untouched = values_of(full({1}, 1e30, p.y_dtype))[0];
  for (std::int64_t i = 0; i < y.tensor.numel(); ++i) {
    if (i > 0 && (i - 1) % (n + 3) < n) continue;
    EXPECT_EQ(all[static_cast<std::size_t>(i)], untouched) << "written beyond the result";
  }
  return out;
}

// In float64, with what a chain of k multiply-adds may be off by: (k + 2)·2⁻²⁴ of the sum of the products'
// sizes, since each partial sum is at most that (Higham 2002, section 3.1), and the rounding of the result.
void expect_oracle(const Product& p, const std::string& what) {
  const Tensor got = multiply(p);
  const auto x = values_of(p.x), w = values_of(p.w), y = values_of(got);
  const auto bias = p.bias.defined() ? values_of(p.bias) : std::vector<double>();
  const std::int64_t m = p.x.size(0), k = p.x.size(1), n = p.w.size(0);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = bias.empty() ? 0 : bias[static_cast<std::size_t>(j)], size = std::abs(sum);
      for (std::int64_t c = 0; c < k; ++c) {
        const double term = x[static_cast<std::size_t>(i * k + c)] * w[static_cast<std::size_t>(j * k + c)];
        sum += term;
        size += std::abs(term);
      }
      const double single = 0x1p-24 * static_cast<double>(k + 2) * size;
      const double rounding = p.y_dtype == DType::bfloat16 ? 0x1p-8 * (std::abs(sum) + single) : 0;
      ASSERT_NEAR(y[static_cast<std::size_t>(i * n + j)], sum, single + rounding)
          << what << ": element " << i << ", " << j << " of " << m << " x " << n << ", k = " << k;
    }
  }
}

constexpr DType kDTypes[] = {DType::float32, DType::bfloat16};

TEST(RowGemm, every_tail_of_rows_outputs_and_depth_agrees_with_float64) {
  for (const DType dtype : kDTypes) {
    for (std::int64_t size = 1; size <= 70; ++size) {
      const std::int64_t other = size * 31 % 70 + 1, third = size * 47 % 70 + 1;
      for (const auto& [m, n, k] :
           {std::tuple(size, other, third), std::tuple(third, size, other), std::tuple(other, third, size)}) {
        const Product p{.x = random({m, k}, 1, dtype),
                        .w = random({n, k}, 2, dtype),
                        .bias = size % 2 ? random({n}, 3, DType::float32) : Tensor(),
                        .y_dtype = size % 3 ? DType::float32 : dtype};
        expect_oracle(p, std::string(name_of(dtype)));
      }
    }
  }
}

TEST(RowGemm, long_sums_and_many_blocks_agree_with_float64) {
  for (const DType dtype : kDTypes) {
    for (const auto& [m, n, k] :
         {std::tuple(1, 200, 1031), std::tuple(13, 70, 1031), std::tuple(130, 300, 517),
          std::tuple(40, 600, 515), std::tuple(250, 33, 260)}) {
      expect_oracle({.x = random({m, k}, 1, dtype), .w = random({n, k}, 2, dtype)}, "long");
    }
  }
}

TEST(RowGemm, operands_need_no_alignment_and_rows_may_lie_apart) {
  for (const DType dtype : kDTypes) {
    const Tensor x = random({9, 37}, 1, dtype), w = random({45, 37}, 2, dtype);
    const Tensor want = contiguous(multiply({.x = x, .w = w}));
    for (const std::int64_t offset : {1, 2, 3}) {
      for (const std::int64_t apart : {0, 1, 4}) {
        const Elements x_at(x, 9, 37 + apart, offset), w_at(w, 45, 37 + apart, offset);
        expect_bitwise_equal(contiguous(multiply({.x = x_at.view(9, 37), .w = w_at.view(45, 37)})), want,
                             "misaligned");
      }
    }
    const Tensor columns = contiguous(transpose(w, 0, 1));
    expect_bitwise_equal(contiguous(multiply({.x = x, .w = transpose(columns, 0, 1)})), want, "transposed");
  }
}

// What the definition says, for float32: one chain of multiply-adds from 0.
TEST(RowGemm, an_element_is_one_chain_of_multiply_adds_in_order) {
  if (std::getenv("HEADWAY_TEST_ISA") && std::string_view(std::getenv("HEADWAY_TEST_ISA")) == "sse4")
    GTEST_SKIP() << "no multiply-adds below AVX2";
  const Tensor x = random({29, 700}, 1, DType::float32), w = random({50, 700}, 2, DType::float32);
  const Tensor y = contiguous(multiply({.x = x, .w = w}));
  for (std::int64_t i = 0; i < 29; ++i) {
    for (std::int64_t j = 0; j < 50; ++j) {
      float sum = 0;
      for (std::int64_t c = 0; c < 700; ++c)
        sum = std::fma(x.data<float>()[i * 700 + c], w.data<float>()[j * 700 + c], sum);
      ASSERT_EQ(y.data<float>()[i * 50 + j], sum) << i << ", " << j;
    }
  }
}

TEST(RowGemm, a_row_has_the_same_bits_alone_and_at_any_place_of_any_batch) {
  std::mt19937 engine(7);
  const auto number = [&](std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(engine);
  };
  for (const DType dtype : kDTypes) {
    for (int round = 0; round < 60; ++round) {
      const std::int64_t m = round < 40 ? number(1, 70) : number(70, 400), n = number(1, 200),
                         k = number(1, 800);
      const auto epilogue = static_cast<kernels::Epilogue>(round % 5);
      const Tensor x = random({m, k}, 11, dtype), w = random({n, k}, 12, dtype);
      const Tensor bias = random({n}, 13, DType::float32);
      const Tensor all = multiply({.x = x, .w = w, .bias = bias, .epilogue = epilogue});
      const std::int64_t count = number(1, std::min<std::int64_t>(m, 5)), place = number(0, m - count);
      const Tensor some = multiply(
          {.x = x.strided({count, k}, {k, 1}, place * k), .w = w, .bias = bias, .epilogue = epilogue});
      expect_bitwise_equal(contiguous(some), contiguous(slice(all, 0, place, place + count)),
                           "rows " + std::to_string(place) + " on of " + std::to_string(m));
    }
  }
}

TEST(RowGemm, gives_the_same_bits_for_any_number_of_threads) {
  const int before = threads();
  for (const DType dtype : kDTypes) {
    for (const std::int64_t m : {1, 3, 14, 40, 300}) {
      const Tensor x = random({m, 300}, 1, dtype), w = random({700, 300}, 2, dtype);
      set_threads(1);
      const Tensor want = contiguous(multiply({.x = x, .w = w}));
      for (const int count : {2, 3, 4, 7}) {
        set_threads(count);
        expect_bitwise_equal(contiguous(multiply({.x = x, .w = w})), want,
                             std::to_string(count) + " threads");
      }
      set_threads(before);
    }
  }
}

TEST(RowGemm, what_is_not_finite_in_a_row_reaches_no_other) {
  for (const DType dtype : kDTypes) {
    for (const std::int64_t k : {31, 64}) {
      const Tensor x = random({20, k}, 1, DType::float32), w = random({40, k}, 2, dtype);
      const Tensor want = contiguous(multiply({.x = cast(x, dtype), .w = w}));
      x.data<float>()[7 * k + k - 1] = std::numeric_limits<float>::quiet_NaN();
      x.data<float>()[8 * k] = std::numeric_limits<float>::infinity();
      const Tensor got = contiguous(multiply({.x = cast(x, dtype), .w = w}));
      for (const auto& [begin, end] : {std::pair(0, 7), std::pair(9, 20)}) {
        expect_bitwise_equal(contiguous(slice(got, 0, begin, end)), contiguous(slice(want, 0, begin, end)),
                             "beside NaN");
      }
      for (const double value : values_of(slice(got, 0, 7, 9))) EXPECT_FALSE(std::isfinite(value));
    }
  }
}

TEST(RowGemm, an_epilogue_gives_the_bits_of_the_activation_after_the_product) {
  const std::pair<kernels::Epilogue, Tensor (*)(const Tensor&)> epilogues[] = {
      {kernels::Epilogue::relu, relu},
      {kernels::Epilogue::gelu, gelu},
      {kernels::Epilogue::gelu_tanh, gelu_tanh},
      {kernels::Epilogue::silu, silu}};
  const Tensor x = random({5, 20}, 1, DType::float32), w = random({43, 20}, 2, DType::float32);
  const Tensor bias = random({43}, 3, DType::float32);
  const Tensor plain = contiguous(multiply({.x = x, .w = w, .bias = bias}));
  for (const auto& [epilogue, activation] : epilogues) {
    expect_bitwise_equal(contiguous(multiply({.x = x, .w = w, .bias = bias, .epilogue = epilogue})),
                         activation(plain), "activation");
  }
}

TEST(RowGemm, packed_rows_are_what_was_packed_from_every_dtype) {
  for (const DType source : {DType::float32, DType::bfloat16, DType::float16}) {
    for (const DType dtype : kDTypes) {
      for (const std::int64_t k : {1, 2, 33, 300}) {
        const Tensor w = random({37, k}, 1, source);
        core::Workspace space(kernels::packed_weight_bytes(dtype, 37, k));
        const void* bytes = pack(w, dtype, space);
        const Tensor want = cast(cast(w, dtype), DType::float32);
        for (std::int64_t row = 0; row < 37; ++row) {
          const Tensor got = Tensor::empty({k}, DType::float32);
          kernels::packed_row(dtype, bytes, k, row, got.data<float>());
          expect_bitwise_equal(got, contiguous(reshape(slice(want, 0, row, row + 1), {k})), "row");
        }
      }
    }
  }
}

}  // namespace
}  // namespace headway
