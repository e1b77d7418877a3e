#include "ops/composed_relative.h"

#include <algorithm>
#include <vector>

#include <headway/core/factory.h>
#include <headway/ops/embedding.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

#include "ops/attention_args.h"

namespace headway::inline v1::ops {
namespace {

// The vector of each pair, [H or 1, T, S, width].
Tensor rows_of_pairs(const Position::Vectors& vectors, const kernels::SequenceDesc& s, DType dtype) {
  const kernels::RelativeRows rows = relative_rows(vectors);
  std::vector<std::int32_t> numbers;
  for (std::int64_t i = 0; i < s.query_count; ++i) {
    for (std::int64_t j = 0; j < s.key_count; ++j) {
      // A hidden pair may have no vector.
      const std::int64_t number = rows.number(s.distance(i, j));
      numbers.push_back(static_cast<std::int32_t>(std::clamp<std::int64_t>(number, 0, rows.count - 1)));
    }
  }
  Tensor table = vectors.rows;
  const bool heads = vectors.head > 0;
  if (heads && vectors.head > vectors.row) table = contiguous(transpose(table, 0, 1));  // [rows, H, width]
  const Tensor index = from(numbers, {s.query_count * s.key_count});
  const Tensor pairs = cast(gather(table, index), dtype);
  const std::int64_t count = heads ? table.size(1) : 1;
  return transpose(reshape(pairs, {s.query_count * s.key_count, count, vectors.width}), 0, 1);
}

Tensor by_pairs(const Tensor& rows, const kernels::SequenceDesc& s) {
  return reshape(contiguous(rows), {rows.size(0), s.query_count, s.key_count, rows.size(-1)});
}

}  // namespace

Tensor with_head_bias(const Tensor& x, const Tensor& bias) {
  if (!bias.defined()) return x;
  return add(x, cast(reshape(bias, {bias.size(0), 1, bias.size(1)}), x.dtype()));
}

Tensor relative_scores(const Tensor& query, const Position::Vectors& vectors,
                       const kernels::SequenceDesc& s) {
  const Tensor rows = by_pairs(rows_of_pairs(vectors, s, query.dtype()), s);
  const Tensor column = reshape(contiguous(query), {query.size(0), query.size(1), query.size(2), 1});
  return reshape(matmul(rows, column), {query.size(0), s.query_count, s.key_count});
}

Tensor relative_values(const Tensor& weights, const Position::Vectors& vectors,
                       const kernels::SequenceDesc& s) {
  const Tensor rows = by_pairs(rows_of_pairs(vectors, s, weights.dtype()), s);
  const Tensor row = reshape(contiguous(weights), {weights.size(0), s.query_count, 1, s.key_count});
  return reshape(matmul(row, rows), {weights.size(0), s.query_count, vectors.width});
}

}  // namespace headway::inline v1::ops
