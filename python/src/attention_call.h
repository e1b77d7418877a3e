#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include <nanobind/nanobind.h>

#include <headway/nn/multi_head_attention.h>
#include <headway/ops/attention.h>

#include "mask.h"

/// One call of attention from Python: its arguments lowered to AttentionOptions.
namespace headway::python {

namespace nb = nanobind;
using Offsets = std::optional<std::vector<std::int64_t>>;

/// What to return beside the output.
struct Capture {
  Weights weights = Weights::none;
  Scores stage = Scores::softmaxed;
  bool log_sum_exp = false;
};

/// Results as the caller's arrays; None where not asked for.
struct Attended {
  nb::object output, weights, log_sum_exp;
};

/// The keyword arguments that attention(), attention_backward() and explain() share.
struct CallArguments {
  nb::handle mask, bias;
  const Position* position = nullptr;
  std::optional<double> scale;
  double softcap = 0, dropout = 0;
  Generator* generator = nullptr;
  Offsets query_offsets, key_offsets, key_lengths;
};

/// Sets mask or plan of `options` (AttentionOptions or nn::AttendOptions) for sequences of this shape: `mask`
/// is None, a Mask or a TilePlan. Error(value) for anything else. A shape that is none (see shape_of_call)
/// sets nothing.
template <typename Options>
void set_mask(Options& options, nb::handle mask, const std::optional<PlanShape>& shape);

/// Lengths of the sequences of a call, or nothing where its arguments do not fit each other: the library's
/// own check then says how.
std::optional<PlanShape> shape_of_call(const Shape& query, const Shape& key, std::int64_t heads,
                                       const std::vector<std::int64_t>& query_offsets,
                                       const std::vector<std::int64_t>& key_offsets,
                                       const std::vector<std::int64_t>& key_lengths);

/// Everything but the mask. `operation` is for messages.
AttentionOptions lower(const char* operation, const CallArguments& arguments);

/// backward() of a result, from the gradient of its output and, where it was used, of its log-sum-exp.
void walk_back(const AttentionResult& result, const Tensor& d_output, const Tensor& d_log_sum_exp);

}  // namespace headway::python
