#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <headway/nn/multi_head_attention.h>

namespace headway::inline v1::inspect {

/// The ways of having heads, or not, that the comparison sets side by side.
enum class Heads {
  combined,       ///< one matrix for all heads
  split,          ///< matrices of their own for each head
  sliced,         ///< the same, and each head reads only its share of the input's columns
  single,         ///< one head as wide as all together: "attention on the combined matrix"
  no_projections  ///< the input's own columns, cut into heads, are queries, keys and values alike
};
inline constexpr Heads kAllHeads[] = {Heads::combined, Heads::split, Heads::sliced, Heads::single,
                                      Heads::no_projections};

HEADWAY_API std::string_view name_of(Heads heads);
/// What one gets for it, in a few words.
HEADWAY_API std::string_view use_of(Heads heads);

/// Self-attention [B, T, C] -> [B, T, C] of any of these kinds; without projections it has no parameters.
class HEADWAY_API HeadsLayer : public nn::Module {
 public:
  HeadsLayer(Heads kind, std::int64_t model_dim, std::int64_t heads, Generator& generator);
  /// Weights [B, H, T, T] come along when asked for.
  nn::Attended operator()(const Tensor& x, const nn::AttendOptions& options = {}) const;
  Heads kind() const { return kind_; }
  /// Null without projections.
  nn::MultiHeadAttention* attention() const { return attention_.get(); }

 private:
  Heads kind_;
  std::int64_t heads_;
  std::unique_ptr<nn::MultiHeadAttention> attention_;
};

struct CompareSize {
  std::int64_t batch = 0, length = 0, model_dim = 0, heads = 0;  ///< B, T, C, H
};

struct CompareRow {
  Heads kind = Heads::combined;
  double forward_seconds = 0;  ///< median, without gradients
  double training_seconds =
      0;                  ///< median of forward and backward; weights are reordered anew, as after every step
  double spread = 0;      ///< of the times: half the distance of their quartiles, as a share of the median
  double operations = 0;  ///< of the forward pass
  std::int64_t peak_bytes = 0;  ///< most that forward and backward hold at once, beyond parameters and input
  std::int64_t parameters = 0;
  /// Largest difference between its output and that of a combined layer with equal weights (with zeros, or
  /// identity matrices, where it has none). None for the single head, whose function no weights of several
  /// heads give.
  std::optional<double> difference;
};

/// Times candidates in turn, `repeats` times round.
HEADWAY_API std::vector<CompareRow> compare_heads(const CompareSize& size, int repeats);

struct EqualityCheck {
  double output = 0, input_gradient = 0, weight_gradient = 0;  ///< largest absolute differences
};
/// A combined layer and the same converted to split, on the same input.
HEADWAY_API EqualityCheck check_equality(const CompareSize& size);

}  // namespace headway::inline v1::inspect
