#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <headway/ops/attention.h>

/// Attention as a caller has it: attention() on the tape, with masks, biases, positions, packed batches.
namespace headway::bench {

struct VariantOptions {
  /// "plain", "allow", "bias", "bias, learned", "ALiBi", "T5, learned", "softcap", "dropout", or a mask as
  /// Mask::parse() reads it.
  std::string variant = "plain";
  std::vector<std::int64_t> lengths;  ///< one: [1, T, H, D]; more: a packed batch
  std::int64_t heads = 8, dim = 64;
};

class VariantCase {
 public:
  explicit VariantCase(const VariantOptions& options);
  void forward();
  /// After forward(). The objective's own operations, a few passes over the output, are part of it.
  void backward();
  void clear();                            ///< frees output and gradients
  double share() const { return share_; }  ///< of all pairs, those that are seen

  /// Writes inputs and results for save_array(); where the variant drops weights, results without that.
  void save(const std::string& folder);

 private:
  VariantOptions options_;
  Generator generator_{1};
  AttentionOptions call_;
  Tensor q_, k_, v_, d_output_, output_, extra_;
  double share_ = 1;
};

/// The most bytes of tensors and workspaces that were live at once, beyond those of the inputs, during
/// forward and backward.
std::int64_t peak_bytes(VariantCase& work);

/// What masks, biases and positions cost beside plain attention of one sequence, H = 8, D = 64, float32: a
/// table of times, forward and backward, over plain attention's; where pairs are hidden, also over their
/// share of it. All variants take turns, `rounds` times; medians.
void print_variants(std::int64_t length, int rounds);

}  // namespace headway::bench
