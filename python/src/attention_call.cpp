#include "attention_call.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <headway/ops/pointwise.h>

#include "array.h"

namespace headway::python {
namespace {

// offsets[b + 1] - offsets[b], where they rise.
bool add_lengths(const std::vector<std::int64_t>& offsets, std::vector<std::int64_t>& lengths) {
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) lengths.push_back(offsets[b + 1] - offsets[b]);
  return !offsets.empty() && std::ranges::all_of(lengths, [](std::int64_t length) { return length >= 0; });
}

}  // namespace

std::optional<PlanShape> shape_of_call(const Shape& query, const Shape& key, std::int64_t heads,
                                       const std::vector<std::int64_t>& query_offsets,
                                       const std::vector<std::int64_t>& key_offsets,
                                       const std::vector<std::int64_t>& key_lengths) {
  PlanShape shape{.sequences = {}, .heads = heads};
  if (!query_offsets.empty()) {
    std::vector<std::int64_t> queries, keys;
    const auto& key_ends = key_offsets.empty() ? query_offsets : key_offsets;
    if (!add_lengths(query_offsets, queries) || !add_lengths(key_ends, keys) || queries.size() != keys.size())
      return std::nullopt;
    for (std::size_t b = 0; b < queries.size(); ++b) shape.sequences.push_back({queries[b], keys[b]});
    for (const PlanShape::Lengths& sequence : shape.sequences) {
      shape.longest_queries = std::max(shape.longest_queries, sequence.queries);
      shape.longest_keys = std::max(shape.longest_keys, sequence.keys);
    }
    return shape;
  }
  if (query.rank() < 2 || key.rank() < 2 || query[0] != key[0]) return std::nullopt;
  const auto batch = static_cast<std::size_t>(query[0]);
  if (!key_lengths.empty() && key_lengths.size() != batch) return std::nullopt;
  shape.sequences.reserve(batch);
  for (std::size_t b = 0; b < batch; ++b) {
    const std::int64_t keys = key_lengths.empty() ? key[1] : key_lengths[b];
    if (keys < 0 || keys > key[1]) return std::nullopt;
    shape.sequences.push_back({query[1], keys});
  }
  shape.longest_queries = query[1];
  shape.longest_keys = key[1];
  return shape;
}

template <typename Options>
void set_mask(Options& options, nb::handle mask, const std::optional<PlanShape>& shape) {
  if (mask.is_none()) return;
  if (nb::isinstance<TilePlan>(mask)) {
    options.plan = nb::cast<const TilePlan&>(mask);
  } else if (nb::isinstance<PythonMask>(mask)) {
    const auto& value = nb::cast<const PythonMask&>(mask);
    if (value.wants_plan() && shape) {
      options.plan = value.plan(*shape);
    } else if (value.plain()) {
      options.mask = value.mask();
    } else {
      // The call below fails, for a reason that has nothing to do with the mask.
      options.mask = Mask::where([](const PairPosition&) { return false; });
    }
  } else {
    fail(ErrorCode::value, "attention",
         fmt::format("mask is a {}; want a Mask or a TilePlan (an array of bool is Mask.allow or Mask.deny "
                     "of it, numbers "
                     "to add are the bias, a callable is Mask.where of it)",
                     spelled_type(mask)));
  }
}
template void set_mask(AttentionOptions&, nb::handle, const std::optional<PlanShape>&);
template void set_mask(nn::AttendOptions&, nb::handle, const std::optional<PlanShape>&);

AttentionOptions lower(const char* operation, const CallArguments& arguments) {
  AttentionOptions options;
  options.scale = arguments.scale;
  options.bias = import_optional(operation, "bias", arguments.bias);
  if (arguments.position) options.position = *arguments.position;
  options.softcap = arguments.softcap;
  options.dropout = arguments.dropout;
  options.generator = arguments.generator;
  if (arguments.query_offsets) options.query_offsets = *arguments.query_offsets;
  if (arguments.key_offsets) options.key_offsets = *arguments.key_offsets;
  if (arguments.key_lengths) options.key_lengths = *arguments.key_lengths;
  return options;
}

void walk_back(const AttentionResult& result, const Tensor& d_output, const Tensor& d_log_sum_exp) {
  if (!d_log_sum_exp.defined()) return result.output.backward(d_output);
  add(sum(mul(result.output, d_output)), sum(mul(result.log_sum_exp, d_log_sum_exp))).backward();
}

}  // namespace headway::python
