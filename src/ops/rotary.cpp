#include <headway/ops/rotary.h>

#include <algorithm>
#include <limits>
#include <memory>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/core/cost.h>
#include <headway/kernels/rotary.h>
#include <ops/dispatch.h>

#include "ops/rotary_rows.h"

namespace headway::inline v1 {
namespace {

constexpr const char* kOperation = "rotary";

// What the rotation of one tensor, and its transpose in the backward pass, need beside the tensor.
struct Rotation {
  RopeOptions rope;
  std::int64_t dims = 0;
  std::vector<std::int64_t> positions;  // of the rows; empty with a table
  Tensor table;                         // float32; undefined for float64 and on meta
  std::vector<std::int32_t> lines;      // of the table, for each row
};

Tensor turned(const Tensor& source, const Rotation& rotation, bool inverse) {
  const Tensor x = source.size(-1) <= 1 || source.stride(-1) == 1 ? source.detach() : detail::plain(source);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  if (x.device() == Device::meta || x.numel() == 0) return y;
  const bool packed = x.rank() == 3;
  detail::with_floating(kOperation, x, [&]<typename T>() {
    kernels::rotary<T>({.batch = packed ? 1 : x.size(0),
                        .length = x.size(-3),
                        .heads = x.size(-2),
                        .dim = x.size(-1),
                        .dims = rotation.dims,
                        .rope = rotation.rope,
                        .inverse = inverse,
                        .x = x.data<T>(),
                        .sequence = packed ? 0 : x.stride(0),
                        .row = x.stride(-3),
                        .head = x.stride(-2),
                        .y = y.data<T>(),
                        .positions = rotation.positions.data(),
                        .table = rotation.table.defined() ? rotation.table.data<float>() : nullptr,
                        .lines = rotation.lines.data()});
  });
  return y;
}

// The distinct positions of all rotations in rising order, and which of them each row has.
std::vector<std::int64_t> number_positions(std::vector<std::shared_ptr<Rotation>>& rotations) {
  std::int64_t least = std::numeric_limits<std::int64_t>::max(), most = -least, rows = 0;
  for (const auto& rotation : rotations) {
    for (const std::int64_t position : rotation->positions) {
      least = std::min(least, position);
      most = std::max(most, position);
      ++rows;
    }
  }
  std::vector<std::int64_t> distinct;
  if (rows == 0) return distinct;
  if (most - least < 4 * rows) {  // rows of sequences: positions follow one another
    std::vector<std::int32_t> number(static_cast<std::size_t>(most - least + 1), -1);
    const auto at = [&](std::int64_t position) -> std::int32_t& {
      return number[static_cast<std::size_t>(position - least)];
    };
    for (const auto& rotation : rotations) {
      for (const std::int64_t position : rotation->positions) at(position) = 0;
    }
    for (std::int64_t position = least; position <= most; ++position) {
      if (at(position) < 0) continue;
      at(position) = static_cast<std::int32_t>(distinct.size());
      distinct.push_back(position);
    }
    for (const auto& rotation : rotations) {
      for (const std::int64_t position : rotation->positions) rotation->lines.push_back(at(position));
    }
    return distinct;
  }
  for (const auto& rotation : rotations)
    distinct.insert(distinct.end(), rotation->positions.begin(), rotation->positions.end());
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  for (const auto& rotation : rotations) {
    for (const std::int64_t position : rotation->positions) {
      const auto found = std::lower_bound(distinct.begin(), distinct.end(), position);
      rotation->lines.push_back(static_cast<std::int32_t>(found - distinct.begin()));
    }
  }
  return distinct;
}

Tensor make_table(const RopeOptions& rope, std::int64_t dims, const std::vector<std::int64_t>& positions) {
  const Tensor table =
      Tensor::empty({static_cast<std::int64_t>(positions.size()), kernels::rotary_line(rope.pairs, dims)});
  const core::Workspace workspace(kernels::rotary_table_workspace(dims, positions.size()) * sizeof(double));
  kernels::rotary_table(rope, dims, positions, table.data<float>(), workspace.as<double>());
  return table;
}

// Where each sequence begins: B + 1 rows of x.
std::vector<std::int64_t> sequences_of(const Tensor& x, const std::vector<std::int64_t>& offsets) {
  if (x.rank() == 4) {
    if (!offsets.empty()) {
      fail(ErrorCode::shape, kOperation,
           fmt::format("offsets are given with x {}; want them with packed [N, H, D] alone", x.describe()));
    }
    std::vector<std::int64_t> rows;
    for (std::int64_t b = 0; b <= x.size(0); ++b) rows.push_back(b * x.size(1));
    return rows;
  }
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != x.size(0) ||
      !std::is_sorted(offsets.begin(), offsets.end())) {
    fail(ErrorCode::shape, kOperation,
         fmt::format("offsets are [{}] for x {}, packed; want them rising from 0 to {}, or position_ids",
                     fmt::join(offsets, ", "), x.describe(), x.size(0)));
  }
  return offsets;
}

// The position of each row of x that is not on meta.
std::vector<std::int64_t> positions_of(const Tensor& x, const Tensor& ids) {
  const auto values = ids.to_vector<std::int32_t>();
  std::vector<std::int64_t> positions;
  const std::int64_t repeats = x.rank() == 4 && ids.rank() == 1 ? x.size(0) : 1;
  for (std::int64_t b = 0; b < repeats; ++b) positions.insert(positions.end(), values.begin(), values.end());
  return positions;
}

void check_ids(const Tensor& x, const RotaryOptions& options) {
  const Tensor& ids = options.position_ids;
  if (ids.dtype() != DType::int32) {
    fail(ErrorCode::dtype, kOperation,
         fmt::format("position_ids are {}; want int32 (cast them)", ids.describe()));
  }
  const bool packed = x.rank() == 3;
  const bool each = ids.rank() == 1 && ids.size(0) == x.size(-3);
  const bool all = !packed && ids.rank() == 2 && ids.size(0) == x.size(0) && ids.size(1) == x.size(1);
  if (!each && !all) {
    fail(ErrorCode::shape, kOperation,
         fmt::format("position_ids are {} for x {}; want [{}]{}", ids.describe(), x.describe(), x.size(-3),
                     packed ? "" : fmt::format(" or [{}, {}]", x.size(0), x.size(1))));
  }
  if (!options.starts.empty()) {
    fail(ErrorCode::value, kOperation, "position_ids and starts are given; want one of them");
  }
}

std::vector<std::int64_t> positions_of(const Tensor& x, const RotaryOptions& options) {
  const auto& starts = options.starts;
  const std::vector<std::int64_t> begin = sequences_of(x, options.offsets);
  if (starts.size() > 1 && starts.size() + 1 != begin.size()) {
    fail(ErrorCode::shape, kOperation,
         fmt::format("{} starts for {} sequences; want one, or one for each", starts.size(),
                     begin.size() - 1));
  }
  std::vector<std::int64_t> positions;
  for (std::size_t b = 0; b + 1 < begin.size(); ++b) {
    const std::int64_t start = starts.empty() ? 0 : starts[starts.size() == 1 ? 0 : b];
    for (std::int64_t i = 0; i < begin[b + 1] - begin[b]; ++i) positions.push_back(start + i);
  }
  return positions;
}

}  // namespace

std::vector<Tensor> ops::rotate(const RopeOptions& rope, const std::vector<PlacedRows>& parts) {
  std::vector<std::shared_ptr<Rotation>> rotations;
  bool tabulated = true;
  for (const PlacedRows& part : parts) {
    rotations.push_back(std::make_shared<Rotation>(
        Rotation{rope, rope.rotated(kOperation, part.x.size(-1)), part.positions, {}, {}}));
    tabulated = tabulated && part.x.dtype() != DType::float64 && part.x.device() != Device::meta;
  }
  if (tabulated) {
    const std::int64_t dims = rotations.empty() ? 0 : rotations[0]->dims;
    const Tensor table = make_table(rope, dims, number_positions(rotations));
    for (const auto& rotation : rotations) {
      rotation->table = table;
      rotation->positions = {};
    }
  }
  std::vector<Tensor> out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Tensor& x = parts[i].x;
    const std::shared_ptr<const Rotation> rotation = rotations[i];
    out.push_back(turned(x, *rotation, false));
    const std::int64_t rows = x.numel() / std::max<std::int64_t>(1, x.size(-1));
    const double turning = static_cast<double>(rows) * static_cast<double>(rotation->dims);
    report_cost("rotary", 3 * turning,
                2 * static_cast<double>(x.numel()) * static_cast<double>(size_of(x.dtype())));
    if (!autograd::needs_grad({x})) continue;
    // A rotation's transpose is its inverse, the rotation by the negative angle: nothing of x is kept.
    autograd::record(kOperation, {x}, {out.back()}, [rotation](const std::vector<Tensor>& grads) {
      return std::vector<Tensor>{turned(grads[0], *rotation, true)};
    });
  }
  return out;
}

Tensor rotary(const Tensor& x, const RotaryOptions& options) {
  if (!x.defined() || x.rank() < 3 || x.rank() > 4) {
    fail(ErrorCode::shape, kOperation,
         fmt::format("x is {}; want [B, T, H, D], or packed [N, H, D] with offsets", x.describe()));
  }
  detail::require_floating(kOperation, x);
  options.rope.rotated(kOperation, x.size(-1));
  if (!options.position_ids.defined()) return ops::rotate(options.rope, {{x, positions_of(x, options)}})[0];
  check_ids(x, options);
  if (detail::is_meta({x, options.position_ids})) {
    if (x.device() == Device::meta) return ops::rotate(options.rope, {{x, {}}})[0];
    fail(ErrorCode::unsupported, kOperation,
         fmt::format("position_ids {} are on meta and have no elements, x has",
                     options.position_ids.describe()));
  }
  return ops::rotate(options.rope, {{x, positions_of(x, options.position_ids)}})[0];
}

}  // namespace headway::inline v1
