#include <headway/ops/attention.h>

#include <algorithm>
#include <array>
#include <memory>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/core/cost.h>
#include <headway/core/factory.h>
#include <headway/core/parallel.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

#include "ops/attention_args.h"
#include "ops/attention_rope.h"

namespace headway::inline v1 {
namespace {

// Where queries, keys and values come from: columns of one, two or three tensors [..., width].
struct Source {
  int tensor = 0;
  std::int64_t column = 0;
};
struct Inputs {
  std::vector<Tensor> tensors;
  std::array<Source, 3> sources;  // of q, k, v
  std::array<ops::HeadsView, 3> views;
  Tensor relative_query;  // what meets vectors by offset; undefined without them
};

// What else has gradients: their order is that of the tape.
enum Learned { kBias, kTable, kRelativeQuery, kKeyVectors, kValueVectors, kParameters, kLearned };
std::array<Tensor, kLearned> learned_of(const AttentionOptions& options, const Tensor& relative_query) {
  return {options.bias,
          options.position.table(),
          relative_query,
          options.position.key_vectors().rows,
          options.position.value_vectors().rows,
          options.modifier.parameters()};
}

std::int64_t width_of(const Tensor& x, bool heads_apart) {
  return heads_apart ? x.size(-1) * x.size(-2) : x.size(-1);
}

// A gradient of a whole source tensor, and the parts of it that q, k or v write.
kernels::HeadRows part_of(const Tensor& grad, std::int64_t width, std::int64_t column, std::int64_t dim) {
  if (!grad.defined()) return {};
  return {static_cast<char*>(grad.raw()) + column * static_cast<std::int64_t>(size_of(grad.dtype())), width,
          dim};
}

// [B, H, T] as the kernels lay out log-sum-exps, [H, B·T]; packed it is [H, N] already.
Tensor by_heads(const Tensor& sums) {
  if (!sums.defined()) return sums;
  return contiguous(sums.rank() == 3 ? transpose(sums, 0, 1) : sums);
}

void check_known(const char* what, const Tensor& x, const Shape& shape, DType dtype) {
  if (x.defined() && x.dtype() == dtype && x.shape() == shape) return;
  fail(x.defined() && x.dtype() != dtype ? ErrorCode::dtype : ErrorCode::shape, "attention",
       fmt::format("the known {} is {}; want {} {}", what, x.describe(), name_of(dtype), shape.str()));
}
Tensor known_output(const Tensor& output, const Shape& shape, DType dtype) {
  check_known("output", output, shape, dtype);
  return contiguous(output.detach());
}
Tensor known_sums(const Tensor& sums, const ops::HeadsView& q, DType dtype) {
  check_known("log-sum-exp", sums, q.packed ? Shape{q.heads, q.length} : Shape{q.batch, q.heads, q.length},
              dtype);
  return by_heads(sums.detach());
}

struct Backward {
  std::shared_ptr<ops::AttentionCall> call;
  Inputs inputs;  // tensors detached
  bool heads_apart = true;
  std::vector<bool> wanted;
  std::array<bool, kLearned> wants = {};
  Position position;
  autograd::Saved output, lse;
  std::vector<autograd::Saved> saved, learned;

  // Rows that no sequence names (keys beyond a sequence's length) get no gradient from the kernel.
  Tensor gradient_of(const Tensor& input, const Tensor& o, std::int64_t rows) const {
    const ops::HeadsView& keys = inputs.views[1];
    std::int64_t named = 0;
    for (const auto& s : call->sequences) named += s.key_count;
    const bool whole = rows > 0 && named == keys.batch * keys.length;
    return whole ? Tensor::empty(input.shape(), o.dtype(), o.device())
                 : zeros(input.shape(), o.dtype(), o.device());
  }

  std::vector<Tensor> operator()(const std::vector<Tensor>& grads) const {
    for (const auto& tensor : saved) tensor.get("attention");
    const Tensor& o = output.get("attention");
    const Tensor& sums = lse.get("attention");
    const Device device = o.device();
    // The log-sum-exp alone may have been used.
    const Tensor d_o = grads[0].defined() ? grads[0] : zeros(o.shape(), o.dtype(), device);
    const Tensor d_lse = by_heads(grads[1]);
    std::array<Tensor, kLearned> grads_of;
    for (std::size_t i = 0; i < kLearned; ++i) {
      const Tensor& x = learned[i].get("attention");
      // A modifier adds to its parameters' gradient whether anyone asks or not.
      if (wants[i] || (i == kParameters && x.defined()) || (i == kRelativeQuery && x.defined()))
        grads_of[i] = zeros(x.shape(), x.dtype(), device);
    }

    std::vector<Tensor> out;
    for (std::size_t i = 0; i < inputs.tensors.size(); ++i) {
      out.push_back(wanted[i] ? gradient_of(inputs.tensors[i], o, sums.numel()) : Tensor());
    }
    for (const Tensor& x : grads_of) out.push_back(x);
    if (device == Device::meta || sums.numel() == 0) return out;

    kernels::AttentionGradArgs args;
    args.forward = call->args;
    const kernels::HeadRows rows{o.raw(), o.size(-2) * o.size(-1), o.size(-1)};
    args.forward.o = rows;
    args.forward.lse = sums.raw();
    args.d_o = {d_o.raw(), rows.row, rows.head};
    args.d_lse = d_lse.defined() ? d_lse.raw() : nullptr;
    const auto part = [&](std::size_t role) {
      const Source& source = inputs.sources[role];
      const auto index = static_cast<std::size_t>(source.tensor);
      return part_of(out[index], width_of(inputs.tensors[index], heads_apart), source.column,
                     inputs.views[role].dim);
    };
    args.dq = part(0);
    args.dk = part(1);
    args.dv = part(2);
    if (wants[kBias]) {
      const Tensor& bias_tensor = grads_of[kBias];
      const auto size = [&](int from_end) {
        return bias_tensor.rank() < from_end ? 1 : bias_tensor.size(-from_end);
      };
      args.dbias = bias_tensor.raw();
      args.dbias_strides = {};
      std::int64_t step = 1;
      std::int64_t* strides[] = {&args.dbias_strides.key, &args.dbias_strides.query, &args.dbias_strides.head,
                                 &args.dbias_strides.batch};
      for (int d = 1; d <= 4; ++d) {
        *strides[d - 1] = size(d) == 1 ? 0 : step;
        step *= size(d);
      }
      args.bias_queries = size(2);
      args.bias_heads = size(3);
      args.bias_batches = size(4);
    }
    const auto raw = [&](Learned which) {
      return grads_of[which].defined() ? grads_of[which].raw() : nullptr;
    };
    if (const Tensor& d_query = grads_of[kRelativeQuery]; d_query.defined())
      args.d_relative_query = {d_query.raw(), d_query.size(-2) * d_query.size(-1), d_query.size(-1)};
    args.d_relative_keys = raw(kKeyVectors);
    args.d_relative_values = raw(kValueVectors);
    args.d_modifier = raw(kParameters);
    Tensor d_distances;
    if (wants[kTable]) {
      d_distances = zeros(call->distances.shape(), call->distances.dtype());
      args.ddistances = d_distances.raw();
    }
    run_kernel(args, o.dtype());
    if (wants[kTable]) add_to_table(d_distances, grads_of[kTable]);
    return out;
  }

  static void run_kernel(kernels::AttentionGradArgs& args, DType dtype) {
    if (dtype == DType::float64) return kernels::reference::attention_backward(args);
    const core::Workspace workspace(kernels::attention_backward_workspace(args, threads()));
    kernels::attention_backward(args, workspace.as<void>());
  }

  // Every distance's gradient goes to the table's element that gave its bias.
  void add_to_table(const Tensor& d_distances, const Tensor& d_table) const {
    const std::int64_t heads = call->args.heads, count = call->distance_count;
    std::vector<double> values;
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t d = 0; d < count; ++d) {
        const std::int64_t at = h * call->args.distances.head + d;
        values.push_back(d_distances.dtype() == DType::float64
                             ? d_distances.data<double>()[at]
                             : static_cast<double>(d_distances.data<float>()[at]));
      }
    }
    const auto sums = position.table_gradient(values, heads, call->args.distances.least, count);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      if (d_table.dtype() == DType::float64) {
        d_table.data<double>()[i] = sums[i];
      } else {
        d_table.data<float>()[i] = static_cast<float>(sums[i]);
      }
    }
  }
};

void report(const ops::AttentionCall& call, double tensor_bytes) {
  const double pairs = call.visible_pairs;
  report_cost("attention.scores", 2 * pairs * static_cast<double>(call.args.dim), tensor_bytes);
  // Per pair: subtract the maximum, exponentiate, add to the sum, divide.
  report_cost("attention.softmax", 4 * pairs, 0);
  report_cost("attention.values", 2 * pairs * static_cast<double>(call.args.value_dim), 0);
}

AttentionResult run(Inputs inputs, bool heads_apart, const AttentionOptions& options) {
  const ops::HeadsView& q = inputs.views[0];
  const auto call =
      std::make_shared<ops::AttentionCall>(ops::lower(q, inputs.views[1], inputs.views[2], options));
  const Device device = q.tensor.device();
  const DType dtype = q.tensor.dtype();
  const std::int64_t value_dim = inputs.views[2].dim;
  const std::int64_t rows = q.batch * q.length;
  const bool wide = dtype == DType::float64;

  AttentionResult result;
  const Shape shape =
      q.packed ? Shape{q.length, q.heads, value_dim} : Shape{q.batch, q.length, q.heads, value_dim};
  const DType sum_dtype = wide ? DType::float64 : DType::float32;
  result.output =
      options.known ? known_output(options.known->output, shape, dtype) : Tensor::empty(shape, dtype, device);
  const Tensor lse = options.known ? known_sums(options.known->log_sum_exp, q, sum_dtype)
                                   : Tensor::empty({q.heads, rows}, sum_dtype, device);
  kernels::AttentionArgs& args = call->args;
  call->bind();
  if (inputs.relative_query.defined()) {
    const ops::HeadsView view = ops::view_heads("query", inputs.relative_query.detach());
    call->relative_query = view.tensor;
    args.relative_query = view.rows();
  }
  args.lse_rows = rows;
  double bytes = static_cast<double>(result.output.numel()) * static_cast<double>(size_of(dtype));
  for (const Tensor& x : inputs.tensors)
    bytes += static_cast<double>(x.numel()) * static_cast<double>(size_of(dtype));
  report(*call, bytes);
  if (device != Device::meta && result.output.numel() + rows > 0) {
    args.lse = lse.raw();
    args.o = {result.output.raw(), q.heads * value_dim, value_dim};
    if (options.known) {
      // Nothing is left to compute.
    } else if (wide) {
      kernels::reference::attention_forward(args);
    } else {
      const core::Workspace workspace(kernels::attention_forward_workspace(args, threads()));
      kernels::attention_forward(args, workspace.as<void>());
    }
  }
  if (options.weights != Weights::none)
    result.weights = ops::attention_scores(*call, options.weights, options.stage, device);
  if (options.log_sum_exp) {
    result.log_sum_exp = q.packed ? lse : lse.strided({q.batch, q.heads, q.length}, {q.length, rows, 1}, 0);
  }

  std::vector<Tensor> recorded = inputs.tensors;
  const auto learned = learned_of(options, inputs.relative_query);
  recorded.insert(recorded.end(), learned.begin(), learned.end());
  if (!autograd::needs_grad(recorded)) return result;
  Backward backward{.call = call,
                    .inputs = {},
                    .heads_apart = heads_apart,
                    .wanted = {},
                    .wants = {},
                    .position = options.position,
                    .output = autograd::Saved(result.output),
                    .lse = autograd::Saved(lse),
                    .saved = {},
                    .learned = {}};
  for (std::size_t i = 0; i < kLearned; ++i) {
    backward.wants[i] = autograd::wants_grad(learned[i]);
    backward.learned.emplace_back(learned[i]);
  }
  for (Tensor& x : inputs.tensors) {
    backward.wanted.push_back(autograd::wants_grad(x));
    backward.saved.emplace_back(x);
    x = x.detach();
  }
  for (ops::HeadsView& view : inputs.views) view.tensor = view.tensor.detach();
  inputs.relative_query = {};
  backward.inputs = std::move(inputs);
  autograd::record("attention", recorded, {result.output, result.log_sum_exp}, std::move(backward));
  return result;
}

// Columns [column, column + heads·dim) of x [..., width], as heads.
Tensor heads_of(const Tensor& x, std::int64_t column, std::int64_t heads, std::int64_t dim) {
  Shape shape;
  Strides strides;
  for (int d = 0; d + 1 < x.rank(); ++d) {
    shape.push_back(x.size(d));
    strides.push_back(x.stride(d));
  }
  shape.push_back(heads);
  shape.push_back(dim);
  strides.push_back(dim);
  strides.push_back(1);
  return x.strided(shape, strides, x.offset() + column);
}

void check_width(const char* argument, const Tensor& x, std::int64_t wanted, const HeadsLayout& layout) {
  if (x.rank() >= 2 && x.size(-1) == wanted && x.is_contiguous()) return;
  fail(ErrorCode::shape, "attention",
       fmt::format(
           "{} is {}; want contiguous [..., {}] for {} heads of {} and {} key/value heads of {} and {}",
           argument, x.describe(), wanted, layout.heads, layout.head_dim, layout.kv_heads, layout.head_dim,
           layout.value_head_dim));
}

// Rotation and Transformer-XL's biases make queries of their own.
bool cuts_up(const AttentionOptions& options) {
  return options.position.rotates() || options.position.relative();
}

}  // namespace

AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionOptions& options) {
  if (!options.key_starts.empty() && (options.position.rotates() || autograd::needs_grad({q, k, v}))) {
    fail(
        ErrorCode::unsupported, "attention",
        options.position.rotates()
            ? fmt::format("key_starts with position {}; want keys rotated before they were cached (rotary())",
                          options.position.str())
            : "key_starts in a recorded call: keys of a cache have no gradient; want a NoGrad in scope");
  }
  if (options.position.rotates()) return ops::attention_rope(q, k, v, options);
  const bool in_place = !autograd::needs_grad({k, v});
  const Position& position = options.position;
  const auto with = [&](const Tensor& bias) {
    if (!bias.defined()) return q;
    position.check(q.size(-2), q.size(-1), v.size(-1));
    return add(q, cast(bias, q.dtype()));
  };
  Inputs inputs;
  inputs.tensors = {with(position.content_bias()), k, v};
  if (position.relative()) inputs.relative_query = with(position.position_bias());
  inputs.sources = {Source{0, 0}, Source{1, 0}, Source{2, 0}};
  inputs.views = {ops::view_heads("query", inputs.tensors[0].detach()),
                  ops::view_heads("key", k.detach(), in_place),
                  ops::view_heads("value", v.detach(), in_place)};
  auto& [query, key, value] = inputs.views;
  if (key.sequence_rows != value.sequence_rows) {  // one descriptor walks both
    key = ops::view_heads("key", k.detach());
    value = ops::view_heads("value", v.detach());
  }
  return run(std::move(inputs), true, options);
}

AttentionResult attention_combined(const Tensor& qkv, const HeadsLayout& l, const AttentionOptions& options) {
  const std::int64_t keys = l.heads * l.head_dim;
  const std::int64_t values = keys + l.kv_heads * l.head_dim;
  check_width("qkv", qkv, values + l.kv_heads * l.value_head_dim, l);
  if (cuts_up(options)) return ops::attention_of_parts({qkv}, l, options);
  Inputs inputs;
  inputs.tensors = {qkv};
  inputs.sources = {Source{0, 0}, Source{0, keys}, Source{0, values}};
  inputs.views = {ops::view_heads("query", heads_of(qkv, 0, l.heads, l.head_dim)),
                  ops::view_heads("key", heads_of(qkv, keys, l.kv_heads, l.head_dim)),
                  ops::view_heads("value", heads_of(qkv, values, l.kv_heads, l.value_head_dim))};
  return run(std::move(inputs), false, options);
}

AttentionResult attention_combined(const Tensor& q, const Tensor& kv, const HeadsLayout& l,
                                   const AttentionOptions& options) {
  const std::int64_t values = l.kv_heads * l.head_dim;
  check_width("q", q, l.heads * l.head_dim, l);
  check_width("kv", kv, values + l.kv_heads * l.value_head_dim, l);
  if (cuts_up(options)) return ops::attention_of_parts({q, kv}, l, options);
  Inputs inputs;
  inputs.tensors = {q, kv};
  inputs.sources = {Source{0, 0}, Source{1, 0}, Source{1, values}};
  inputs.views = {ops::view_heads("query", heads_of(q, 0, l.heads, l.head_dim)),
                  ops::view_heads("key", heads_of(kv, 0, l.kv_heads, l.head_dim)),
                  ops::view_heads("value", heads_of(kv, values, l.kv_heads, l.value_head_dim))};
  return run(std::move(inputs), false, options);
}

}  // namespace headway::inline v1
