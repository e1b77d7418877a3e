#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <headway/core/allocator.h>
#include <headway/kernels/attention.h>

/// One attention problem with its arrays, for the kernels themselves: [B, T, H, D] rows, no tape around them.
namespace headway::bench {

struct CaseOptions {
  std::int64_t batch = 1, heads = 1, kv_heads = 1;  ///< B, H, G
  std::int64_t queries = 1, keys = 1;               ///< T, S: the last query stands at the last key
  std::int64_t dim = 1;                             ///< D
  bool causal = false;
  bool masked = false;           ///< nine pairs of ten, drawn: a boolean mask [T, T] for all heads
  DType dtype = DType::float32;  ///< float32, bfloat16, or float64 (the oracle)
};

/// Twice the multiply-adds of QKᵀ and PV over the pairs that are seen. Backward is 2.5 times that: five
/// products.
double forward_operations(const CaseOptions& options);
/// Of keys and values together: what decoding has to read.
double key_value_bytes(const CaseOptions& options);

/// bool [length, length]: nine pairs of ten, drawn, are true.
Tensor nine_of_ten(std::int64_t length);

class Case {
 public:
  /// The same numbers for every dtype but for their rounding. Workspaces are for the threads of this moment.
  explicit Case(const CaseOptions& options);
  void forward();
  void backward();  ///< after forward()

  /// An array's name and values, for comparison: "o", "dq", "dk", "dv".
  std::vector<std::pair<std::string, std::vector<double>>> results() const;
  /// Writes inputs and results of a float32 case: see save_array().
  void save(const std::string& folder) const;

 private:
  kernels::HeadRows rows(int array) const;
  CaseOptions options_;
  std::vector<std::unique_ptr<core::Workspace>> arrays_;  // q, k, v, d_o, o, dq, dk, dv, lse
  std::vector<kernels::SequenceDesc> sequences_;
  Mask mask_;
  TilePlan plan_;
  kernels::AttentionGradArgs args_;
  std::unique_ptr<core::Workspace> forward_space_, backward_space_;
};

/// FOLDER/NAME.bin: the bare elements, for a peer's worker to read.
void save_array(const std::string& folder, const std::string& name, const void* data, std::size_t bytes);

/// Largest distance ‖ours - float64‖/‖float64‖ over output and gradients.
double error_against_oracle(const CaseOptions& options);

}  // namespace headway::bench
