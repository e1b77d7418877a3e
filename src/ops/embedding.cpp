#include <headway/ops/embedding.h>

#include <limits>
#include <numeric>
#include <utility>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/kernels/rows.h>
#include <ops/dispatch.h>
#include <ops/weight_cache.h>

namespace headway::inline v1 {
namespace {

void check_ids(const char* operation, const char* name, const Tensor& ids, std::int64_t rows,
               const char* hint) {
  if (ids.device() == Device::meta) return;
  const auto* values = ids.data<std::int32_t>();
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    if (values[i] >= 0 && values[i] < rows) continue;
    fail(ErrorCode::value, operation,
         fmt::format("{} {} at place {} is outside the table of {} rows; want 0 to {}{}", name, values[i], i,
                     rows, rows - 1, hint));
  }
}

void check_index_dtype(const char* operation, const char* name, const Tensor& ids) {
  if (ids.dtype() == DType::int32) return;
  fail(ErrorCode::dtype, operation, fmt::format("{} is {}; want int32", name, ids.describe()));
}

// The gradient of a [rows, dim] table from the gradient of the rows that ids took out of it.
template <typename Grad, typename Table>
void scatter_into(const Tensor& d_table, std::int64_t rows, std::int64_t dim, const Tensor& ids,
                  const Tensor& d_out, double scale) {
  const std::int64_t count = ids.numel();
  if (count >= std::numeric_limits<std::int32_t>::max()) {
    fail(ErrorCode::unsupported, "gather", fmt::format("{} places; want fewer than 2^31", count));
  }
  const core::Workspace starts(static_cast<std::size_t>(rows + 1) * sizeof(std::int32_t));
  const core::Workspace order(static_cast<std::size_t>(count) * sizeof(std::int32_t));
  kernels::group_by_row(ids.data<std::int32_t>(), count, rows, starts.as<std::int32_t>(),
                        order.as<std::int32_t>());
  kernels::scatter<Grad, Table>({.rows = rows,
                                 .dim = dim,
                                 .starts = starts.as<std::int32_t>(),
                                 .order = order.as<std::int32_t>(),
                                 .d_out = d_out.data<Grad>(),
                                 .scale = scale,
                                 .d_table = d_table.data<Table>()});
}

Tensor table_gradient(const Tensor& table_like, const Shape& shape, const Tensor& ids, const Tensor& d_out,
                      double scale) {
  Tensor d_table = Tensor::empty(shape, table_like.dtype(), d_out.device());
  if (d_out.device() == Device::meta) return d_table;
  const std::int64_t rows = shape[0];
  const std::int64_t dim = rows ? shape.numel() / rows : 0;
  if (table_like.dtype() == DType::float64) {
    scatter_into<double, double>(d_table, rows, dim, ids, d_out, scale);
  } else if (table_like.dtype() == DType::bfloat16) {
    scatter_into<bfloat16, bfloat16>(d_table, rows, dim, ids, d_out, scale);
  } else if (d_out.dtype() == DType::bfloat16) {
    scatter_into<bfloat16, float>(d_table, rows, dim, ids, d_out, scale);
  } else {
    scatter_into<float, float>(d_table, rows, dim, ids, d_out, scale);
  }
  return d_table;
}

// A table on demand that is only read: its rows are fetched one by one, and the table never exists.
bool fetched(const Tensor& table, const EmbeddingOptions& options) {
  return table.rank() == 2 && table.dtype() != DType::float64 && table.storage().on_demand() &&
         !autograd::needs_grad({table, options.positions});
}

void check_embedding(const Tensor& ids, const Tensor& table, const EmbeddingOptions& options) {
  constexpr const char* kName = "embedding";
  check_index_dtype(kName, "ids", ids);
  const bool wide = table.dtype() == DType::float64;
  const bool narrow =
      (table.dtype() == DType::bfloat16 || table.dtype() == DType::float16) && fetched(table, options);
  if (table.rank() != 2 || (!wide && !narrow && table.dtype() != DType::float32)) {
    fail(ErrorCode::shape, kName,
         fmt::format("table is {}; want float32 or float64 [V, C]", table.describe()));
  }
  if (!wide && options.output != DType::float32 && options.output != DType::bfloat16) {
    fail(ErrorCode::dtype, kName,
         fmt::format("output is {}; want float32 or bfloat16", name_of(options.output)));
  }
  const Tensor& positions = options.positions;
  if (!positions.defined()) return;
  const DType beside = wide ? DType::float64 : DType::float32;
  if (positions.rank() != 2 || positions.size(1) != table.size(1) || positions.dtype() != beside) {
    fail(ErrorCode::shape, kName,
         fmt::format("positions is {}; want {} [P, {}], as the table", positions.describe(), name_of(beside),
                     table.size(1)));
  }
  if (!options.position_ids.defined() || !(options.position_ids.shape() == ids.shape())) {
    fail(ErrorCode::shape, kName,
         fmt::format("position_ids is {}; want int32 {}, as ids", options.position_ids.describe(),
                     ids.shape().str()));
  }
  check_index_dtype(kName, "position_ids", options.position_ids);
}

// The rows that ids name as a table of their own, in their order, and the ids that name them there.
std::pair<Tensor, Tensor> fetch(const Tensor& ids, const Tensor& table, DType dtype) {
  const Tensor rows = Tensor::empty({ids.numel(), table.size(1)}, DType::float32);
  const Tensor order = Tensor::empty({ids.numel()}, DType::int32);
  std::iota(order.data<std::int32_t>(), order.data<std::int32_t>() + ids.numel(), 0);
  ops::stored_rows(table, dtype, ids.data<std::int32_t>(), ids.numel(), rows.data<float>());
  return {order, rows};
}

}  // namespace

Tensor embedding(const Tensor& ids, const Tensor& table, const EmbeddingOptions& options) {
  constexpr const char* kName = "embedding";
  check_embedding(ids, table, options);
  const Tensor all = detail::plain(ids);
  const bool placed = options.positions.defined();
  const Tensor places = placed ? detail::plain(options.position_ids) : Tensor();
  const Tensor positions = placed ? detail::plain(options.positions) : Tensor();
  check_ids(kName, "id", all, table.size(0), " (is the vocabulary size the tokenizer's?)");
  if (placed)
    check_ids(kName, "position id", places, positions.size(0),
              " (is the sequence longer than the positions?)");
  const bool apart = fetched(table, options) && all.device() != Device::meta;
  const std::pair<Tensor, Tensor> looked =
      apart ? fetch(all, table, options.output) : std::pair(all, detail::plain(table));
  const Tensor& tokens = looked.first;
  const Tensor& weights = looked.second;
  Shape shape = ids.shape();
  shape.push_back(table.size(1));
  const bool wide = table.dtype() == DType::float64;
  Tensor out = Tensor::empty(shape, wide ? DType::float64 : options.output,
                             detail::device_of({ids, table, positions, places}));
  if (out.device() != Device::meta) {
    const auto look = [&]<typename Table, typename Out>(Table, Out) {
      kernels::lookup<Table, Out>({.count = tokens.numel(),
                                   .dim = table.size(1),
                                   .ids = tokens.data<std::int32_t>(),
                                   .table = weights.data<Table>(),
                                   .scale = options.scale,
                                   .position_ids = placed ? places.data<std::int32_t>() : nullptr,
                                   .positions = placed ? positions.data<Table>() : nullptr,
                                   .out = out.data<Out>()});
    };
    if (wide)
      look(double(), double());
    else if (options.output == DType::bfloat16)
      look(float(), bfloat16());
    else
      look(float(), float());
  }
  if (autograd::needs_grad({table, options.positions})) {
    const bool want_table = autograd::wants_grad(table),
               want_positions = autograd::wants_grad(options.positions);
    const autograd::Saved kept_tokens = tokens, kept_places = places;
    const Tensor like = Tensor::empty({0}, table.dtype(), out.device());
    const Shape table_shape = table.shape(), positions_shape = placed ? positions.shape() : Shape();
    autograd::record(kName, {table, options.positions}, {out},
                     [=, scale = options.scale](const std::vector<Tensor>& grads) {
                       std::vector<Tensor> back(2);
                       if (want_table) {
                         back[0] = table_gradient(like, table_shape, kept_tokens.get(kName), grads[0], scale);
                       }
                       if (want_positions) {
                         back[1] = table_gradient(like, positions_shape, kept_places.get(kName), grads[0], 1);
                       }
                       return back;
                     });
  }
  return out;
}

Tensor gather(const Tensor& x, const Tensor& index) {
  constexpr const char* kName = "gather";
  detail::require_floating(kName, x);
  check_index_dtype(kName, "index", index);
  if (x.rank() < 1 || index.rank() != 1) {
    fail(ErrorCode::shape, kName,
         fmt::format("x is {}, index is {}; want [N, ...] and [M]", x.describe(), index.describe()));
  }
  const Tensor rows = detail::plain(x), places = detail::plain(index);
  check_ids(kName, "index", places, x.size(0), "");
  Shape shape = x.shape();
  shape[0] = index.size(0);
  Tensor out = Tensor::empty(shape, x.dtype(), detail::device_of({x, index}));
  const std::int64_t dim = x.size(0) ? x.numel() / x.size(0) : 0;
  if (out.device() != Device::meta) {
    detail::with_floating(kName, x, [&]<typename T>() {
      kernels::lookup<T, T>({.count = places.numel(),
                             .dim = dim,
                             .ids = places.data<std::int32_t>(),
                             .table = rows.data<T>(),
                             .scale = 1,
                             .position_ids = nullptr,
                             .positions = nullptr,
                             .out = out.data<T>()});
    });
  }
  if (autograd::needs_grad({x})) {
    const Tensor like = Tensor::empty({0}, x.dtype(), out.device());
    autograd::record(
        kName, {x}, {out},
        [=, before = x.shape(), kept = autograd::Saved(places)](const std::vector<Tensor>& grads) {
          return std::vector<Tensor>{table_gradient(like, before, kept.get(kName), grads[0], 1)};
        });
  }
  return out;
}

}  // namespace headway::inline v1
