#include <headway/models/transformer_xl.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/nn/initial.h>
#include <headway/nn/positions.h>
#include <headway/ops/embedding.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/softmax.h>
#include <headway/ops/views.h>

namespace headway::inline v1::models {
namespace {

Tensor index_of(const std::vector<std::int32_t>& of) {
  return from(of, {static_cast<std::int64_t>(of.size())});
}

// Rows of sinusoids, sines before cosines, for distances count - 1 … 0.
Tensor distance_rows(std::int64_t count, std::int64_t width, std::int64_t clamp) {
  const Tensor table = nn::sinusoidal_positions(count, width, true);
  std::vector<std::int32_t> order;
  for (std::int64_t distance = count - 1; distance >= 0; --distance)
    order.push_back(static_cast<std::int32_t>(clamp > 0 ? std::min(distance, clamp) : distance));
  return gather(table, index_of(order));
}

}  // namespace

TransformerXl::TransformerXl(const TransformerXlOptions& o, Generator& generator) : options_(o) {
  if (o.same_length && o.memory < 1)
    fail(ErrorCode::value, "TransformerXl", "same_length wants a memory of at least 1");
  build_clusters(generator);
  const nn::NormLayerOptions norm{.width = o.model_dim, .kind = nn::NormKind::layer, .eps = o.norm_eps};
  nn::StackOptions stack;
  nn::BlockOptions block{
      .attention = {.model_dim = o.model_dim,
                    .heads = o.heads,
                    .head_dim = o.head_dim,
                    .bias = false,
                    .dropout = o.attention_dropout},
      .causal = true,
      .feed_forward = {.model_dim = o.model_dim, .hidden = o.feed_forward_dim, .dropout = o.dropout},
      .norm = norm,
      .placement = o.pre_norm ? nn::NormPlacement::pre : nn::NormPlacement::post,
      .dropout = o.dropout};
  if (o.same_length) block.window = o.memory - 1;
  stack.blocks.assign(static_cast<std::size_t>(o.layers), block);
  blocks_ = std::make_unique<nn::BlockStack>(stack, generator);
  add_child("blocks", *blocks_);
  const auto bias = [&](const std::string& name) {
    return add_parameter(name, nn::initial_zeros({o.heads, o.head_dim}));
  };
  for (std::int64_t layer = 0; layer < o.layers; ++layer) {
    Biases of;
    of.relative_weight = add_parameter(fmt::format("relative.{}.weight", layer),
                                       nn::xavier_uniform(o.heads * o.head_dim, o.model_dim, generator));
    const bool own = !o.shared_biases || layer == 0;
    const std::string name = o.shared_biases ? "relative" : fmt::format("relative.{}", layer);
    of.content = own ? bias(name + ".content_bias") : biases_[0].content;
    of.position = own ? bias(name + ".position_bias") : biases_[0].position;
    biases_.push_back(of);
  }
}

void TransformerXl::build_clusters(Generator& generator) {
  const TransformerXlOptions& o = options_;
  std::vector<std::int64_t> ends = o.cutoffs;
  ends.push_back(o.vocabulary);
  std::int64_t begin = 0, width = o.embedding_dim > 0 ? o.embedding_dim : o.model_dim;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i] <= begin || width < 1) {
      fail(ErrorCode::value, "TransformerXl",
           fmt::format("cluster {} has tokens {} to {} and a width of {}; want rising cutoffs below the "
                       "vocabulary of {}",
                       i, begin, ends[i], width, o.vocabulary));
    }
    Cluster c{.begin = begin, .size = ends[i] - begin, .width = width};
    const auto named = [&](const char* what) { return fmt::format("clusters.{}.{}", i, what); };
    const bool projected = width != o.model_dim || o.divisor > 1;
    const bool own = i == 0 || o.divisor > 1;
    const std::int64_t rows = o.divisor > 1 ? c.size : o.vocabulary;
    const auto table_named = [&](const char* what) {
      return add_parameter(named(what), nn::normal_rows(rows, width, generator));
    };
    c.table = own ? table_named("table") : clusters_[0].table;
    if (projected) {
      c.projection =
          own ? add_parameter(named("projection"), nn::xavier_uniform(o.model_dim, width, generator))
              : clusters_[0].projection;
    }
    c.output_table = o.tied ? c.table : own ? table_named("output_table") : clusters_[0].output_table;
    const bool tied_projection = i < o.tied_projections.size() ? o.tied_projections[i] : true;
    c.output_projection =
        !projected || tied_projection
            ? c.projection
            : add_parameter(named("output_projection"), nn::xavier_uniform(o.model_dim, width, generator));
    c.output_bias = own ? add_parameter(named("bias"), nn::initial_zeros({rows})) : clusters_[0].output_bias;
    clusters_.push_back(c);
    begin = ends[i];
    width /= o.divisor;
  }
  const auto tails = static_cast<std::int64_t>(clusters_.size()) - 1;
  if (tails == 0) return;
  cluster_weight_ = add_parameter("cluster_weight", nn::xavier_uniform(tails, clusters_[0].width, generator));
  cluster_bias_ = add_parameter("cluster_bias", nn::initial_zeros({tails}));
}

Tensor TransformerXl::embed(const Tensor& ids) const {
  const auto tokens = ids.to_vector<std::int32_t>();
  std::vector<Tensor> parts;
  std::vector<std::int32_t> place(tokens.size());
  std::int32_t next = 0;
  for (const Cluster& cluster : clusters_) {
    std::vector<std::int32_t> own;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const std::int64_t at = tokens[i] - cluster.begin;
      if (at < 0 || at >= cluster.size) continue;
      own.push_back(options_.divisor > 1 ? static_cast<std::int32_t>(at) : tokens[i]);
      place[i] = next++;
    }
    if (own.empty()) continue;
    const Tensor rows = embedding(index_of(own), cluster.table);
    parts.push_back(cluster.projection.defined() ? linear(rows, cluster.projection) : rows);
  }
  const Tensor all = parts.size() == 1 ? parts[0] : gather(concat(parts, 0), index_of(place));
  return scale(all, std::sqrt(static_cast<double>(options_.model_dim)));
}

Position TransformerXl::position(std::size_t layer, const Tensor& distances) const {
  const Biases& of = biases_[layer];
  const Tensor relative =
      reshape(linear(distances, of.relative_weight), {distances.size(0), options_.heads, options_.head_dim});
  return Position::transformer_xl(relative, of.content, of.position);
}

// Sequences that have no token yet get the memory of zeros that they begin with.
void TransformerXl::begin(const Call& call) {
  for (std::int64_t layer = 0; layer < options_.layers; ++layer) {
    nn::BlockState& state = (*call.states)[static_cast<std::size_t>(layer)];
    std::vector<std::int64_t> fresh;
    for (const std::int64_t row : call.input.rows) {
      if (state.self.lengths()[static_cast<std::size_t>(row)] == 0) fresh.push_back(row);
    }
    if (!fresh.empty()) blocks_->block(layer).begin(state, fresh, options_.memory);
  }
}

Tensor TransformerXl::run(const Call& call) {
  Tensor x = embed(call.ids);
  if (training() && options_.dropout > 0) x = dropout(x, options_.dropout, *generator());
  if (call.states && options_.memory > 0) begin(call);
  std::int64_t longest = 0;
  for (std::size_t b = 0; b + 1 < call.input.offsets.size(); ++b) {
    std::int64_t keys = call.input.offsets[b + 1] - call.input.offsets[b];
    keys += call.states ? (*call.states)[0].self.lengths()[static_cast<std::size_t>(call.input.rows[b])]
                        : options_.memory;
    longest = std::max(longest, keys);
  }
  const Tensor distances = distance_rows(longest, options_.model_dim, options_.clamp);
  const auto input_of = [&](std::int64_t layer) {
    const auto at = static_cast<std::size_t>(layer);
    nn::BlockInput input = call.input;
    if (call.states) {
      input.state = &(*call.states)[at];
    } else {
      input.zeros_before = options_.memory;
    }
    input.position = position(at, distances);
    return input;
  };
  x = blocks_->run(x, input_of, call.observer);
  return training() && options_.dropout > 0 ? dropout(x, options_.dropout, *generator()) : x;
}

void TransformerXl::after_step(std::vector<nn::BlockState>& states,
                               const std::vector<std::int64_t>& sequences) {
  if (options_.memory == 0) return;
  for (nn::BlockState& state : states) {
    for (const std::int64_t row : sequences) state.self.keep_last(row, options_.memory);
  }
}

Tensor TransformerXl::logits(const Tensor& hidden) const {
  const auto scores = [&](const Cluster& c) {
    const Tensor h = c.output_projection.defined()
                         ? linear(hidden, contiguous(transpose(c.output_projection, 0, 1)))
                         : hidden;
    const bool whole = c.output_table.size(0) == c.size;
    const auto own = [&](const Tensor& of) { return whole ? of : slice(of, 0, c.begin, c.begin + c.size); };
    return std::pair(h, linear(h, own(c.output_table), own(c.output_bias)));
  };
  const auto [h, first] = scores(clusters_[0]);
  if (clusters_.size() == 1) return log_softmax(first);
  const Tensor head = log_softmax(concat({first, linear(h, cluster_weight_, cluster_bias_)}, -1));
  std::vector<Tensor> parts{slice(head, -1, 0, clusters_[0].size)};
  for (std::size_t i = 1; i < clusters_.size(); ++i) {
    const std::int64_t at = clusters_[0].size + static_cast<std::int64_t>(i) - 1;
    parts.push_back(add(log_softmax(scores(clusters_[i]).second), slice(head, -1, at, at + 1)));
  }
  return concat(parts, -1);
}

}  // namespace headway::inline v1::models
