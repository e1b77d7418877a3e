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
  std::int64_t batch = 1, heads = 1, length = 1, dim = 1;
  bool causal = false;
  bool masked = false;           ///< nine pairs of ten, drawn: a boolean mask [T, T] for all heads
  DType dtype = DType::float32;  ///< float32, bfloat16, or float64 (the oracle)
};

/// Twice the multiply-adds of QKᵀ and PV over the pairs that are seen. Backward is 2.5 times that: five
/// products.
double forward_operations(const CaseOptions& options);

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

 private:
  kernels::HeadRows rows(const void* data) const {
    return {data, options_.heads * options_.dim, options_.dim};
  }
  CaseOptions options_;
  std::int64_t elements_;
  std::vector<std::unique_ptr<core::Workspace>> arrays_;  // q, k, v, d_o, o, dq, dk, dv, lse, delta
  std::vector<kernels::SequenceDesc> sequences_;
  Mask mask_;
  TilePlan plan_;
  kernels::AttentionGradArgs args_;
  std::unique_ptr<core::Workspace> forward_space_, backward_space_;
};

/// Largest distance ‖ours - float64‖/‖float64‖ over output and gradients.
double error_against_oracle(const CaseOptions& options);

}  // namespace headway::bench
