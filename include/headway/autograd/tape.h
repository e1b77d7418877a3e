#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include <headway/core/tensor.h>

/// The eager tape. Ops record a node for each differentiable call; backward() pops nodes in reverse order of
/// creation, frees what each had saved, and adds up gradients. Only first derivatives: backward of a backward
/// is refused.
namespace headway::inline v1 {

/// While an object of this type lives, this thread records nothing (evaluation, decoding, optimizer steps).
class HEADWAY_API NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

/// Makes a leaf: backward() will leave its gradient in x.grad(). Floating dtypes only. Returns x.
HEADWAY_API Tensor require_grad(const Tensor& x);

/// Activation checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost"): runs
/// body(inputs) without recording it, keeps the inputs alone, and runs it again in the backward pass.
/// Parameters that body uses receive their gradients as usual. body must draw random numbers only from
/// `generators`' state, which is restored for the second run, so that dropout repeats itself.
HEADWAY_API Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& body,
                              const std::vector<Tensor>& inputs,
                              std::initializer_list<class Generator*> generators = {});

namespace autograd {

/// False under NoGrad.
HEADWAY_API bool recording();
/// True in both runs of what checkpoint() runs twice: the first, which records nothing, is to give the bits
/// of the second, which does.
HEADWAY_API bool checkpointing();
/// True when a node for an op with these inputs must be recorded.
HEADWAY_API bool needs_grad(std::initializer_list<Tensor> inputs);
HEADWAY_API bool needs_grad(const std::vector<Tensor>& inputs);

/// A tensor kept for the backward pass. It remembers the storage's version, and get() is an Error(value)
/// naming the op when somebody wrote to it since. Holds no tape, so a node may save its own output.
class HEADWAY_API Saved {
 public:
  Saved() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): saved values read like the tensors they are
  Saved(const Tensor& tensor);
  const Tensor& get(const char* operation) const;
  bool defined() const { return tensor_.defined(); }

 private:
  Tensor tensor_;
  std::uint64_t version_ = 0;
};

/// Given the gradient of each output (undefined where nothing flowed back), returns one of each input
/// (undefined where not needed), in the order of record().
using Backward = std::function<std::vector<Tensor>(const std::vector<Tensor>& grad_outputs)>;

/// Puts a node on the tape: `outputs` were computed from `inputs`. Call it only when needs_grad(inputs).
/// Inputs may be undefined. Which inputs want a gradient is known when recording: ask wants_grad(x) while
/// building the closure.
HEADWAY_API void record(const char* operation, const std::vector<Tensor>& inputs,
                        const std::vector<Tensor>& outputs, Backward backward);
inline bool wants_grad(const Tensor& x) { return x.defined() && x.requires_grad(); }
/// True unless x is a result on the tape, whose gradient belongs to what it was computed from.
HEADWAY_API bool is_leaf(const Tensor& x);

}  // namespace autograd
}  // namespace headway::inline v1
