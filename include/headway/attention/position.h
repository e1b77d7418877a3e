#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <headway/core/tensor.h>

namespace headway::inline v1 {

/// How T5 puts distances into buckets.
struct T5Options {
  bool bidirectional = true;  ///< half of the buckets for keys after the query; else those share bucket 0
  std::int64_t max_distance = 128;  ///< from here on, the last bucket
};

/// Which two columns of a head make a pair that rotary embedding turns. The two differ by an order of
/// columns, so trained weights go with the one that they were trained with.
enum class RopePairs {
  half_split,  ///< m and m + dims/2: GPT-NeoX, Llama, and what Hugging Face's checkpoints hold
  interleaved  ///< 2m and 2m + 1: as in the paper, GPT-J, and Meta's own Llama checkpoints
};

/// Rotary position embedding (Su et al. 2021, "RoFormer"): at position p pair m of a head's first `dims`
/// columns is rotated by the angle p/scaling · base^(-2m/dims), or by p · inverse_frequencies[m].
struct HEADWAY_API RopeOptions {
  double base = 10000;
  std::int64_t dims = 0;  ///< how many columns turn, even; the others stay as they are. 0: all
  RopePairs pairs = RopePairs::half_split;
  double scaling = 1;  ///< positions are divided by it (Chen et al. 2023, "Position interpolation")
  /// In place of base and scaling: how far each pair is rotated from one position to the next, dims/2 numbers
  /// (attention/rope_scaling.h makes those of YaRN and Llama 3). Empty: base^(-2m/dims) / scaling.
  std::vector<double> inverse_frequencies = {};
  double factor = 1;  ///< cosines and sines are multiplied by it (YaRN, Peng et al. 2023, eq. 22)

  /// Error(value) naming `operation` unless base and scaling are positive and dims even.
  void check(const char* operation) const;
  /// How many columns of a head of dimension D turn. Error(shape) naming `operation` where dims exceeds D, or
  /// D itself is meant and odd; and what check() throws.
  std::int64_t rotated(const char* operation, std::int64_t dim) const;
  /// How far pair m turns from one position to the next, of `rotated` columns: base^(-2m/rotated) / scaling.
  double rate(std::int64_t pair, std::int64_t rotated) const;
  /// "rope", or "rope(base 500000, dims 32)" with what is not the default.
  std::string str() const;
};

/// How attention knows how far apart a query and a key are, as a value. All of it acts on the distance d = p
/// - j of the query's position p = i + S - T and the key's j, within each sequence, so that cached, packed
/// and padded calls agree.
class HEADWAY_API Position {
 public:
  /// Nothing: positions are in the input, or nowhere.
  Position() = default;
  /// Each head subtracts slope·|d| (Press et al. 2022, "Train short, test long"), with that paper's slopes
  /// for the call's number of heads.
  static Position alibi();
  /// The same with slopes of one's own, one for each head.
  static Position alibi(std::vector<double> slopes);
  /// Adds table[bucket(d), h]: float32 [buckets, H], learned (Raffel et al. 2020, §2.1). Error(shape) or
  /// Error(dtype) for anything else; Error(value) unless buckets are even (bidirectional) and max_distance
  /// exceeds the buckets that hold one distance each.
  static Position t5(const Tensor& table, const T5Options& options = {});

  /// Each pair's distance, clipped to ±K, has vectors of its own: scores become Q·(K + A)ᵀ, outputs P·(V +
  /// C), row by row (Shaw et al. 2018, eq. 3 and 4; with A alone, softmax((QKᵀ + Qrᵀ)/√d)V). keys A: float32
  /// [2K + 1, D] for all heads or [H, 2K + 1, D]; values C: with Dv, or undefined. Row K + e is offset e = j
  /// - p, as in the paper. Both are learned. Error(shape) or Error(dtype) for anything else.
  static Position shaw(const Tensor& keys, const Tensor& values = {});
  /// Scores become (q + u)·k + (q + v)·r (Dai et al. 2019, §3.3): relative r is float32 [P, H, D], the
  /// projected vector of each offset j - p, from least_offset on; u and v are [H, D]. All are learned. With M
  /// tokens of memory before T queries there are S = M + T keys, and causal attention needs offsets -(S - 1)
  /// … 0, the default of least_offset = 1 - P. Offsets of visible pairs must all be there.
  static Position transformer_xl(const Tensor& relative, const Tensor& content_bias,
                                 const Tensor& position_bias, std::optional<std::int64_t> least_offset = {});

  /// Queries are turned by their positions and keys by theirs, before they meet: their product then depends
  /// on the distance alone. Error(value) as RopeOptions::check().
  static Position rope(const RopeOptions& options = {});

  bool defined() const { return kind_ != Kind::none; }
  /// A bias for each distance: ALiBi, T5.
  bool tabulated() const { return kind_ == Kind::alibi || kind_ == Kind::t5; }
  /// Vectors for each offset: Shaw, Transformer-XL.
  bool relative() const { return kind_ == Kind::shaw || kind_ == Kind::transformer_xl; }

  /// One set of vectors: [rows, D] or with a dimension for heads; undefined where there is none.
  struct Vectors {
    Tensor rows;
    std::int64_t row = 0, head = 0;  ///< strides in elements; head 0: shared
    std::int64_t least = 0, count = 0, width = 0;
    std::int64_t clip = std::int64_t{1} << 60;
  };
  Vectors key_vectors() const;
  Vectors value_vectors() const;
  /// u and v [H, D] of Transformer-XL; undefined for all others.
  const Tensor& content_bias() const { return content_bias_; }
  const Tensor& position_bias() const { return position_bias_; }
  /// Error(shape) naming attention unless vectors and biases fit these heads.
  void check(std::int64_t heads, std::int64_t dim, std::int64_t value_dim) const;
  /// Whether queries and keys are to be turned, as rope_options() say. Nothing is then added to their scores.
  bool rotates() const { return kind_ == Kind::rope; }
  const RopeOptions& rope_options() const { return rope_; }
  /// ALiBi's own slopes; empty for the paper's, and for all others.
  const std::vector<double>& slopes() const { return slopes_; }
  const T5Options& t5_options() const { return t5_; }
  /// T5's table; undefined for all others.
  const Tensor& table() const { return table_; }
  /// The bias of each head at each distance least, least + 1, …: [heads][count]. Error(shape) naming
  /// attention where slopes or table are for another number of heads.
  std::vector<double> biases(std::int64_t heads, std::int64_t least, std::int64_t count) const;
  /// d(loss)/d(table), given d(loss)/d(biases).
  std::vector<double> table_gradient(const std::vector<double>& d_biases, std::int64_t heads,
                                     std::int64_t least, std::int64_t count) const;
  /// The row of T5's table for a distance.
  std::int64_t bucket(std::int64_t distance) const { return t5_bucket(distance, table_.size(0), t5_); }
  std::string str() const;

  /// Slopes of `heads` heads: 2^(-8/n), 2^(-16/n), … for a power of two n; else those of the power below, and
  /// every other one of twice that.
  static std::vector<double> alibi_slopes(std::int64_t heads);
  static std::int64_t t5_bucket(std::int64_t distance, std::int64_t buckets, const T5Options& options = {});

 private:
  enum class Kind { none, alibi, t5, shaw, transformer_xl, rope };
  void check_heads(std::int64_t heads) const;
  static Vectors clipped(const Tensor& rows);
  Kind kind_ = Kind::none;
  std::vector<double> slopes_;
  Tensor table_;
  T5Options t5_;
  Tensor keys_, values_, content_bias_, position_bias_;
  std::int64_t least_offset_ = 0;
  RopeOptions rope_;
};

}  // namespace headway::inline v1
