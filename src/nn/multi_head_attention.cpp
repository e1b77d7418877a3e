#include <headway/nn/multi_head_attention.h>

#include <utility>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/nn/initial.h>
#include <headway/ops/linear.h>
#include <headway/ops/rotary.h>
#include <headway/ops/views.h>

#include "nn/projection.h"

namespace headway::inline v1::nn {
namespace {

Shape with_heads(const Tensor& x, std::int64_t heads, std::int64_t dim) {
  Shape shape;
  for (int d = 0; d + 1 < x.rank(); ++d) shape.push_back(x.size(d));
  shape.push_back(heads);
  shape.push_back(dim);
  return shape;
}

void check_input(const char* argument, const Tensor& x, std::int64_t width) {
  if (x.defined() && x.rank() >= 2 && x.rank() <= 3 && x.size(-1) == width) return;
  fail(ErrorCode::shape, "MultiHeadAttention",
       fmt::format(
           "{} input is {}; want [B, T, {}], or packed [N, {}]{}", argument, x.describe(), width, width,
           x.defined() && x.rank() == 4 ? " (it has heads already: ops attention() takes those)" : ""));
}

}  // namespace

MultiHeadAttention::MultiHeadAttention(const MultiHeadAttentionOptions& options, Generator& generator)
    : options_(complete(options)),
      layout_{options_.heads, options_.kv_heads, options_.head_dim, options_.value_head_dim} {
  std::vector<NamedParameter> parameters;
  for (const Role& role : roles_of(options_)) {
    for (std::int64_t h = 0; h < role.heads; ++h) {
      // Each head is drawn by itself, in either layout: one draw over the combined matrix would take its many
      // rows for fan-out and start every head too small.
      parameters.push_back(
          {fmt::format("{}.{}.weight", role.name, h), xavier_uniform(role.dim, role.inputs, generator)});
      if (options_.bias)
        parameters.push_back({fmt::format("{}.{}.bias", role.name, h), initial_zeros({role.dim})});
    }
  }
  parameters.push_back(
      {"output.weight",
       xavier_uniform(options_.model_dim, options_.heads * options_.value_head_dim, generator)});
  if (options_.output_bias.value_or(options_.bias))
    parameters.push_back({"output.bias", initial_zeros({options_.model_dim})});
  adopt(convert_projection(parameters, options_, options_.projection));
  if (options_.qk_norm == QkNorm::none) return;
  const bool all = options_.qk_norm == QkNorm::all;
  NormLayerOptions norm = options_.qk_norm_options;
  norm.width = options_.head_dim * (all ? options_.heads : 1);
  query_norm_ = std::make_unique<Norm>(norm);
  norm.width = options_.head_dim * (all ? options_.kv_heads : 1);
  key_norm_ = std::make_unique<Norm>(norm);
  add_child("query_norm", *query_norm_);
  add_child("key_norm", *key_norm_);
}

bool MultiHeadAttention::merged() const { return weights_.size() == 1; }

void MultiHeadAttention::adopt(const std::vector<NamedParameter>& parameters) {
  clear_parameters();
  weights_.clear();
  biases_.clear();
  for (int role = 0; role < 3; ++role) {
    head_weights_[role].clear();
    head_biases_[role].clear();
  }
  for (const NamedParameter& parameter : parameters) {
    const Tensor handle = add_parameter(parameter.name, parameter.tensor);
    const bool weight = parameter.name.ends_with(".weight");
    if (parameter.name.starts_with("output.")) {
      (weight ? output_weight_ : output_bias_) = handle;
    } else if (options_.projection == Projection::combined) {
      (weight ? weights_ : biases_).push_back(handle);
    } else {
      const int role = parameter.name.starts_with("query.") ? 0 : parameter.name.starts_with("key.") ? 1 : 2;
      (weight ? head_weights_ : head_biases_)[role].push_back(handle);
    }
  }
}

void MultiHeadAttention::to(Projection projection) {
  if (projection == options_.projection) return;
  const auto converted = convert_projection(parameters(), options_, projection);
  std::vector<NamedParameter> fresh;  // without the old gradients
  for (const NamedParameter& parameter : converted) {
    if (parameter.name.starts_with("query_norm.") || parameter.name.starts_with("key_norm.")) continue;
    fresh.push_back({parameter.name, parameter.tensor.detach()});
  }
  options_.projection = projection;
  adopt(fresh);
}

// Rows of the combined matrix (or vector) that belong to roles first … last.
Tensor MultiHeadAttention::rows_of_role(const std::vector<Tensor>& matrices, int role, int last_role) const {
  if (matrices.empty()) return {};
  if (!merged()) return matrices[static_cast<std::size_t>(role)];
  const auto roles = roles_of(options_);
  std::int64_t begin = 0;
  std::int64_t end = 0;
  for (int r = 0; r <= last_role; ++r) {
    const auto& part = roles[static_cast<std::size_t>(r)];
    if (r < role) begin += part.heads * part.dim;
    end += part.heads * part.dim;
  }
  return slice(matrices[0], 0, begin, end);
}

// x [..., width of the role's input] -> [..., heads, dim].
Tensor MultiHeadAttention::project_role(const Tensor& x, int role) const {
  const auto part = roles_of(options_)[static_cast<std::size_t>(role)];
  check_input(part.name, x, part.width);
  if (options_.projection == Projection::split) {
    return linear_heads(x, head_weights_[role], head_biases_[role], options_.head_input == HeadInput::slice);
  }
  const Tensor y = linear(x, rows_of_role(weights_, role, role), rows_of_role(biases_, role, role));
  return reshape(y, with_heads(x, part.heads, part.dim));
}

// All three from one input; one product where there is one matrix. Evaluation only: the views carry no
// gradient.
MultiHeadAttention::Heads MultiHeadAttention::project_self(const Tensor& x) const {
  if (options_.projection == Projection::split || !merged())
    return {project_role(x, 0), project_role(x, 1), project_role(x, 2)};
  const Tensor all = linear(x, weights_[0], biases_.empty() ? Tensor() : biases_[0]);
  std::int64_t column = 0;
  const auto cut = [&](const Role& role) {
    Strides strides;
    for (int d = 0; d + 1 < all.rank(); ++d) strides.push_back(all.stride(d));
    strides.push_back(role.dim);
    strides.push_back(1);
    const std::int64_t begin = std::exchange(column, column + role.heads * role.dim);
    return all.strided(with_heads(all, role.heads, role.dim), strides, all.offset() + begin);
  };
  const auto roles = roles_of(options_);
  Heads heads;
  heads.query = cut(roles[0]);
  heads.key = cut(roles[1]);
  heads.value = cut(roles[2]);
  return heads;
}

// Queries and keys [..., heads, D] in place of which their norms stand.
void MultiHeadAttention::normalize_heads(Heads& heads) const {
  if (!query_norm_) return;
  const auto normed = [&](const Tensor& x, const Norm& norm) {
    if (options_.qk_norm == QkNorm::head) return norm(contiguous(x)).output;
    Shape flat;
    for (int d = 0; d + 2 < x.rank(); ++d) flat.push_back(x.size(d));
    flat.push_back(x.size(-2) * x.size(-1));
    return reshape(norm(reshape(contiguous(x), flat)).output, x.shape());
  };
  heads.query = normed(heads.query, *query_norm_);
  heads.key = normed(heads.key, *key_norm_);
}

void MultiHeadAttention::refuse_rope_across_sequences(const Position& position) {
  if (!position.rotates()) return;
  fail(
      ErrorCode::unsupported, "MultiHeadAttention",
      fmt::format("position {} in cross-attention: the key input is another tensor than the query input, and "
                  "positions of two sequences have no distance; want a layer without position (on one common "
                  "axis: rotary() with position_ids, then attention())",
                  position.str()));
}

AttentionOptions MultiHeadAttention::attention_options(const Tensor& query,
                                                       const AttendOptions& options) const {
  AttentionOptions out;
  out.mask = options.mask;
  out.plan = options.plan;
  out.bias = options.bias;
  out.scale = options_.scale;
  out.softcap = options_.softcap;
  out.position = options.position.defined() ? options.position : options_.position;
  out.weights = options.weights;
  out.query_offsets = options.query_offsets;
  out.key_offsets = options.key_offsets;
  if (query.rank() == 2 && out.query_offsets.empty()) out.query_offsets = {0, query.size(0)};
  if (training()) {
    out.dropout = options_.dropout;
    out.generator = generator();
  }
  return out;
}

Attended MultiHeadAttention::finish(const AttentionResult& result, const Tensor& query) {
  Shape shape = query.shape();
  shape[-1] = options_.heads * options_.value_head_dim;
  return {linear(reshape(result.output, shape), output_weight_, output_bias_), result.weights};
}

Attended MultiHeadAttention::attend(const Tensor& x, const AttendOptions& options) {
  return attend(x, x, x, options);
}

Attended MultiHeadAttention::attend(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttendOptions& options) {
  check_input("query", query, options_.model_dim);
  check_input("key", key, options_.key_dim);
  check_input("value", value, options_.value_dim);
  AttentionOptions call = attention_options(query, options);
  if (!key.is_same(query)) refuse_rope_across_sequences(call.position);
  const bool self = key.is_same(query) && value.is_same(query);
  if (query.rank() == 2 && call.key_offsets.empty()) {
    const bool whole = options.query_offsets.empty();
    if (!self && !whole) {
      fail(ErrorCode::value, "MultiHeadAttention",
           "packed cross-attention has query_offsets alone; want key_offsets too");
    }
    call.key_offsets = self ? call.query_offsets : std::vector<std::int64_t>{0, key.size(0)};
  }
  if (!query_norm_ && options_.projection == Projection::combined && merged() && key.is_same(value)) {
    if (self)
      return finish(attention_combined(linear(query, weights_[0], biases_.empty() ? Tensor() : biases_[0]),
                                       layout_, call),
                    query);
    const Tensor q = linear(query, rows_of_role(weights_, 0, 0), rows_of_role(biases_, 0, 0));
    const Tensor kv = linear(key, rows_of_role(weights_, 1, 2), rows_of_role(biases_, 1, 2));
    return finish(attention_combined(q, kv, layout_, call), query);
  }
  // The order of the projections is the order in which their gradients are summed: training's bits are of
  // this one.
  Heads heads;
  heads.value = project_role(value, 2);
  heads.key = project_role(key, 1);
  heads.query = project_role(query, 0);
  normalize_heads(heads);
  return finish(attention(heads.query, heads.key, heads.value, call), query);
}

ProjectedMemory MultiHeadAttention::project(const Tensor& key, const Tensor& value,
                                            std::vector<std::int64_t> offsets) {
  refuse_rope_across_sequences(options_.position);
  if (key.rank() == 2 && offsets.empty()) offsets = {0, key.size(0)};
  Heads heads{Tensor(), project_role(key, 1), project_role(value, 2)};
  if (query_norm_) {
    fail(ErrorCode::unsupported, "MultiHeadAttention",
         "project() with qk_norm: keys and queries are normalized in one call; want attend(query, key, "
         "value)");
  }
  return {heads.key, heads.value, std::move(offsets)};
}

Attended MultiHeadAttention::attend(const Tensor& query, const ProjectedMemory& memory,
                                    const AttendOptions& options) {
  check_input("query", query, options_.model_dim);
  AttentionOptions call = attention_options(query, options);
  refuse_rope_across_sequences(call.position);
  if (call.key_offsets.empty()) call.key_offsets = memory.offsets;
  return finish(attention(project_role(query, 0), memory.key, memory.value, call), query);
}

Tensor MultiHeadAttention::step(const Tensor& x, KeyValueCache& cache) {
  require_evaluation("step()");
  check_input("query", x, options_.model_dim);
  if (x.rank() != 3) {
    fail(ErrorCode::shape, "MultiHeadAttention",
         fmt::format("step() input is {}; want [R, T, {}]", x.describe(), options_.model_dim));
  }
  Heads heads = project_self(x);
  normalize_heads(heads);
  cache.admit(x.size(0));
  AttentionOptions call = attention_options(x, {});
  if (options_.position.rotates()) {
    // Keys are turned once, here, and kept so: where a key stands does not change when others follow.
    const RotaryOptions at{.rope = options_.position.rope_options(), .starts = cache.lengths()};
    heads.query = rotary(heads.query, at);
    heads.key = rotary(heads.key, at);
    call.position = {};
  }
  cache.append(heads.key, heads.value);
  call.key_lengths = cache.lengths();
  call.mask = Mask::causal();
  return finish(attention(heads.query, cache.key_, cache.value_, call), x).output;
}

void MultiHeadAttention::require_evaluation(const char* what) const {
  if (!training() && !autograd::recording()) return;
  fail(ErrorCode::unsupported, "MultiHeadAttention",
       fmt::format("{} is for evaluation: want eval() and a NoGrad in scope (a cache is not differentiated)",
                   what));
}

Attended MultiHeadAttention::attend_cached(const Tensor& x, const Tensor& query, const KeyValueCache& cache,
                                           const std::vector<std::int64_t>& rows, AttentionOptions call) {
  call.key_starts.clear();
  for (const std::int64_t row : rows) {
    call.key_starts.push_back(row * cache.capacity());
    call.key_lengths.push_back(cache.lengths_[static_cast<std::size_t>(row)]);
  }
  const auto positions = [](const Tensor& t) {
    return reshape(t, {t.size(0) * t.size(1), t.size(2), t.size(3)});
  };
  return finish(attention(query, positions(cache.key_), positions(cache.value_), call), x);
}

Attended MultiHeadAttention::attend(const Tensor& x, KeyValueCache& cache,
                                    const std::vector<std::int64_t>& rows, const AttendOptions& options) {
  require_evaluation("attend() over a cache");
  check_input("query", x, options_.model_dim);
  Heads heads = project_self(x);
  normalize_heads(heads);
  AttentionOptions call = attention_options(x, options);
  cache.check_rows(rows, call.query_offsets);
  if (call.position.rotates()) {
    RotaryOptions at{.rope = call.position.rope_options(), .offsets = call.query_offsets};
    for (const std::int64_t row : rows) at.starts.push_back(cache.lengths_[static_cast<std::size_t>(row)]);
    heads.query = rotary(heads.query, at);
    heads.key = rotary(heads.key, at);
    call.position = {};
  }
  cache.append(rows, call.query_offsets, heads.key, heads.value);
  return attend_cached(x, heads.query, cache, rows, std::move(call));
}

void MultiHeadAttention::remember(const Tensor& memory, const std::vector<std::int64_t>& offsets,
                                  KeyValueCache& cache, const std::vector<std::int64_t>& rows) {
  require_evaluation("remember()");
  refuse_rope_across_sequences(options_.position);
  cache.append(rows, offsets, project_role(memory, 1), project_role(memory, 2));
}

Attended MultiHeadAttention::attend_memory(const Tensor& x, const KeyValueCache& cache,
                                           const std::vector<std::int64_t>& rows,
                                           const AttendOptions& options) {
  require_evaluation("attend_memory()");
  check_input("query", x, options_.model_dim);
  return attend_cached(x, project_role(x, 0), cache, rows, attention_options(x, options));
}

MultiHeadAttention::Head MultiHeadAttention::head(std::int64_t index) const {
  if (index < 0 || index >= options_.heads) {
    fail(ErrorCode::value, "MultiHeadAttention",
         fmt::format("head {} of {}; want 0 to {}", index, options_.heads, options_.heads - 1));
  }
  const auto roles = roles_of(options_);
  const auto part = [&](int role, const std::vector<Tensor>& whole,
                        const std::vector<Tensor>& own) -> Tensor {
    const Role& r = roles[static_cast<std::size_t>(role)];
    const std::int64_t h = role == 0 ? index : index * options_.kv_heads / options_.heads;
    if (options_.projection == Projection::split)
      return own.empty() ? Tensor() : own[static_cast<std::size_t>(h)];
    if (whole.empty()) return {};
    std::int64_t row = h * r.dim;
    if (merged()) {
      for (int before = 0; before < role; ++before) {
        row += roles[static_cast<std::size_t>(before)].heads * roles[static_cast<std::size_t>(before)].dim;
      }
    }
    const Tensor& t = merged() ? whole[0] : whole[static_cast<std::size_t>(role)];
    return t.rank() == 2 ? t.strided({r.dim, t.size(1)}, t.strides(), t.offset() + row * t.stride(0))
                         : t.strided({r.dim}, t.strides(), t.offset() + row);
  };
  const std::int64_t dv = options_.value_head_dim;
  return {part(0, weights_, head_weights_[0]),
          part(1, weights_, head_weights_[1]),
          part(2, weights_, head_weights_[2]),
          part(0, biases_, head_biases_[0]),
          part(1, biases_, head_biases_[1]),
          part(2, biases_, head_biases_[2]),
          output_weight_.strided({options_.model_dim, dv}, output_weight_.strides(),
                                 output_weight_.offset() + index * dv)};
}

}  // namespace headway::inline v1::nn
