#pragma once
#include <memory>
#include <optional>
#include <vector>

#include <headway/nn/norm.h>
#include <headway/ops/attention.h>

namespace headway::inline v1::nn {

/// How queries, keys and values are made from the input. Equal weights give equal results, either way.
enum class Projection {
  combined,  ///< the simple way: one [(H+G)·D + G·Dv, C] matrix, one product
  split      ///< the logical split: own matrices for each head, own products; heads can be frozen, replaced,
             ///< removed
};
/// What each head sees of the input's columns.
enum class HeadInput {
  full,  ///< all of them (Vaswani 2017)
  slice  ///< head h gets columns h·C/H … (h+1)·C/H - 1: "divide the embedding across the heads"
};

/// What of queries and keys is normalized, each with its own weights, before they are rotated (Henry et al.
/// 2020).
enum class QkNorm {
  none,
  head,  ///< each head's D columns by themselves: Qwen 3, Gemma 3
  all    ///< the columns of all heads together: OLMo 2
};

struct MultiHeadAttentionOptions {
  std::int64_t model_dim = 0;  ///< C: width of the query input and of the output
  std::int64_t heads = 0;      ///< H
  std::int64_t kv_heads = 0;  ///< G, dividing H; 0: H (Ainslie et al. 2023: grouped queries; 1: Shazeer 2019)
  std::int64_t head_dim = 0;  ///< D; 0: C/H
  std::int64_t value_head_dim = 0;  ///< Dv; 0: D
  std::int64_t key_dim = 0;         ///< width of the key input; 0: C
  std::int64_t value_dim = 0;       ///< width of the value input; 0: C
  bool bias = true;
  double dropout = 0;  ///< of the attention weights, in training
  Projection projection = Projection::combined;
  HeadInput head_input = HeadInput::full;
  std::optional<double> scale = {};  ///< 1/sqrt(D) unless given
  double softcap = 0;                ///< as AttentionOptions::softcap
  /// Of every call, steps over a cache among them. A T5 table in it belongs to the caller, who may share it
  /// between layers (as T5 does) and lists it among the parameters. Position::rope() is for self-attention:
  /// where the keys are not of the queries' own sequence it is an Error(unsupported), for a distance between
  /// positions of two sequences means nothing. A KeyValueCache then holds keys already turned.
  Position position = {};
  std::optional<bool> output_bias = {};  ///< of the output projection; as `bias` unless given
  QkNorm qk_norm = QkNorm::none;
  NormLayerOptions qk_norm_options = {.kind = NormKind::rms, .eps = 1e-6};  ///< its width is set here
};

/// Arguments of one call. Inputs are [B, T, C], or packed [N, C] with offsets (without them [N, C] is one
/// sequence).
struct AttendOptions {
  Mask mask = {};
  TilePlan plan = {};      ///< in place of the mask: one compiled before, for this shape
  Tensor bias = {};        ///< added to the scores, broadcast to [B, H, T, S]
  Position position = {};  ///< in place of the layer's, where defined
  std::vector<std::int64_t> query_offsets = {},
                            key_offsets = {};  ///< key_offsets: query_offsets unless given, in self-attention
  Weights weights = Weights::none;
};

struct Attended {
  Tensor output;   ///< shape of the query input
  Tensor weights;  ///< as AttentionResult::weights; undefined unless asked for
};

/// Keys and values of a memory, projected once for many queries.
struct ProjectedMemory {
  Tensor key;    ///< [..., G, D]
  Tensor value;  ///< [..., G, Dv]
  std::vector<std::int64_t> offsets;
};

/// What step-by-step decoding has seen so far: one row per hypothesis, grown as needed.
class HEADWAY_API KeyValueCache {
 public:
  std::int64_t rows() const { return static_cast<std::int64_t>(lengths_.size()); }
  /// Positions held by each row.
  const std::vector<std::int64_t>& lengths() const { return lengths_; }
  /// Row r becomes the former row from[r]; rows may be dropped or repeated (beam search, early finish).
  void reorder(const std::vector<std::int32_t>& from);
  /// Copies T new positions of each row behind those that it holds: key [R, T, G, D], value [R, T, G, Dv]. An
  /// empty cache takes R rows of that kind; Error(shape) or Error(dtype) where another one's do not fit.
  void append(const Tensor& key, const Tensor& value);
  /// [R, capacity, G, D] and [R, capacity, G, Dv], of which the first lengths()[r] positions exist; undefined
  /// while empty.
  const Tensor& key() const { return key_; }
  const Tensor& value() const { return value_; }

  /// For sequences that come and go, each with a row of its own. There are at least `rows` rows; new ones are
  /// empty.
  void reserve_rows(std::int64_t rows);
  /// Row `to` becomes what row `from` is.
  void copy_row(std::int64_t from, std::int64_t to);
  void clear_row(std::int64_t row);
  /// Copies the packed positions offsets[b] … offsets[b + 1] - 1 of key [N, G, D] and value [N, G, Dv] behind
  /// those of row rows[b].
  void append(const std::vector<std::int64_t>& rows, const std::vector<std::int64_t>& offsets,
              const Tensor& key, const Tensor& value);
  /// Drops the oldest positions of a row but `count`.
  void keep_last(std::int64_t row, std::int64_t count);

 private:
  friend class MultiHeadAttention;
  std::int64_t capacity() const { return key_.defined() ? key_.size(1) : 0; }
  void grow(std::int64_t positions, const Tensor& key, const Tensor& value);
  void check_rows(const std::vector<std::int64_t>& rows, const std::vector<std::int64_t>& offsets) const;
  void admit(std::int64_t rows);  // an empty cache begins with that many; Error(shape) when it has others
  Tensor key_, value_;
  std::vector<std::int64_t> lengths_;
};

/// Multi-head attention (Vaswani 2017, section 3.2.2): project to heads, attend in each, concatenate, project
/// back.
class HEADWAY_API MultiHeadAttention : public Module {
 public:
  /// Error(shape) naming the field where sizes do not fit. Weights: Xavier-uniform for each head by itself
  /// (both layouts start alike); biases 0.
  MultiHeadAttention(const MultiHeadAttentionOptions& options, Generator& generator);

  /// Self-attention: queries, keys and values from x.
  Tensor operator()(const Tensor& x, const AttendOptions& options = {}) { return attend(x, options).output; }
  /// Cross-attention: queries from x, keys and values from memory.
  Tensor operator()(const Tensor& x, const Tensor& memory, const AttendOptions& options = {}) {
    return attend(x, memory, memory, options).output;
  }
  Attended attend(const Tensor& x, const AttendOptions& options = {});
  Attended attend(const Tensor& query, const Tensor& key, const Tensor& value,
                  const AttendOptions& options = {});

  /// Cross-attention in two steps, for decoding: the memory is projected once.
  ProjectedMemory project(const Tensor& key, const Tensor& value, std::vector<std::int64_t> offsets = {});
  Attended attend(const Tensor& query, const ProjectedMemory& memory, const AttendOptions& options = {});
  /// Causal self-attention of new positions x [R, T, C] over everything in the cache, which they join.
  /// An empty cache takes R rows. Evaluation only.
  Tensor step(const Tensor& x, KeyValueCache& cache);

  /// Self-attention of new positions x [N, C] of several sequences over what the cache holds of each, which
  /// they join: sequence b is x's rows options.query_offsets[b] … [b + 1] - 1 and row rows[b] of the cache.
  /// The mask is the caller's (a decoder's is causal). Evaluation only.
  Attended attend(const Tensor& x, KeyValueCache& cache, const std::vector<std::int64_t>& rows,
                  const AttendOptions& options);
  /// Projects memories, packed [M, C], into rows of a cache, for attend_memory().
  void remember(const Tensor& memory, const std::vector<std::int64_t>& offsets, KeyValueCache& cache,
                const std::vector<std::int64_t>& rows);
  /// Cross-attention of packed queries over remembered memories: sequence b looks at row rows[b]. Evaluation
  /// only.
  Attended attend_memory(const Tensor& x, const KeyValueCache& cache, const std::vector<std::int64_t>& rows,
                         const AttendOptions& options);

  /// Changes the layout of the weights without changing the function. Gradients are dropped, handles of
  /// parameters renewed. Error(unsupported) for combined with sliced input, which has no combined matrix.
  void to(Projection projection);

  /// One head's parameters: the tensors themselves when split, views into the matrices when combined.
  struct Head {
    Tensor query_weight, key_weight,
        value_weight;  ///< [D, C], [D, key_dim], [Dv, value_dim]; sliced: their share of columns
    Tensor query_bias, key_bias, value_bias;  ///< [D], [D], [Dv]; undefined without bias
    Tensor output_weight;                     ///< [C, Dv]: this head's columns of the output projection
  };
  Head head(std::int64_t index) const;
  const MultiHeadAttentionOptions& options() const { return options_; }

 private:
  struct Heads {
    Tensor query, key, value;  // [..., H, D], [..., G, D], [..., G, Dv]
  };
  Tensor project_role(const Tensor& x, int role) const;
  Heads project_self(const Tensor& x) const;
  void normalize_heads(Heads& heads) const;
  void require_evaluation(const char* what) const;
  Attended attend_cached(const Tensor& x, const Tensor& query, const KeyValueCache& cache,
                         const std::vector<std::int64_t>& rows, AttentionOptions call);
  Tensor rows_of_role(const std::vector<Tensor>& matrices, int role, int last_role) const;
  AttentionOptions attention_options(const Tensor& query, const AttendOptions& options) const;
  static void refuse_rope_across_sequences(const Position& position);
  Attended finish(const AttentionResult& result, const Tensor& query);
  void adopt(const std::vector<NamedParameter>& parameters);
  bool merged() const;

  MultiHeadAttentionOptions options_;
  HeadsLayout layout_;
  std::vector<Tensor> weights_, biases_;                  // combined: one for all roles, or one for each
  std::vector<Tensor> head_weights_[3], head_biases_[3];  // split: query, key, value
  Tensor output_weight_, output_bias_;
  std::unique_ptr<Norm> query_norm_, key_norm_;
};

/// Renames and recuts parameters, or anything shaped like them (an optimizer's moments), from one layout to
/// the other. `tensors` are named as MultiHeadAttention::parameters() names them; others pass through. Values
/// are copied, not changed.
HEADWAY_API std::vector<NamedParameter> convert_projection(const std::vector<NamedParameter>& tensors,
                                                           const MultiHeadAttentionOptions& options,
                                                           Projection to);

}  // namespace headway::inline v1::nn
