#include <headway/autograd/tape.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/core/generator.h>
#include <headway/kernels/accumulate.h>

namespace headway::inline v1 {
namespace {

thread_local bool recording_now = true;
thread_local bool checkpointing_now = false;

// A flag of this thread that has another value while this lives.
class Within {
 public:
  Within(bool& flag, bool value) : flag_(flag), before_(std::exchange(flag, value)) {}
  ~Within() { flag_ = before_; }
  Within(const Within&) = delete;
  Within& operator=(const Within&) = delete;

 private:
  bool& flag_;
  bool before_;
};

struct Node;

// A leaf, or one output of a recorded node.
struct Meta final : core::GradientState {
  std::shared_ptr<Node> node;  // null for a leaf
  std::size_t output = 0;
  Tensor leaf_grad;

  Tensor grad() const override { return leaf_grad; }
  void set_grad(Tensor grad) override { leaf_grad = std::move(grad); }
  void backward(const Tensor& root, const Tensor& seed) override;
};

struct Node {
  std::uint64_t order = 0;  // a node depends only on nodes of lower order
  const char* operation = "";
  std::vector<std::shared_ptr<Meta>> inputs;  // null where no gradient is wanted
  std::vector<Shape> input_shapes;
  std::size_t outputs = 0;
  autograd::Backward backward;  // empty once walked
};

std::atomic<std::uint64_t> next_order{1};

// sum += extra. Writes in place only where nobody else can see it: one gradient may be on its way to two
// places.
void add_to(Tensor& sum, Tensor extra) {
  if (!sum.defined()) {
    sum = std::move(extra);
    return;
  }
  if (sum.device() == Device::meta) return;
  if (!sum.is_unique() && extra.is_unique()) std::swap(sum, extra);
  if (!sum.is_unique()) {
    Tensor copy = zeros(sum.shape(), sum.dtype());
    kernels::accumulate(copy.dtype(), copy.raw(), sum.raw(), copy.numel());
    sum = std::move(copy);
  }
  kernels::accumulate(sum.dtype(), sum.raw(), extra.raw(), sum.numel());
}

void check_gradient(const Node& node, std::size_t input, const Tensor& grad) {
  if (grad.shape() == node.input_shapes[input] && grad.is_contiguous()) return;
  fail(ErrorCode::internal, node.operation,
       fmt::format("its backward gave a gradient of shape {} ({}contiguous) for input {} of shape {}",
                   grad.shape().str(), grad.is_contiguous() ? "" : "not ", input,
                   node.input_shapes[input].str()));
}

void give_to_leaf(Meta& leaf, Tensor grad) {
  // A leaf keeps bytes of its own: optimizers and clipping write to them.
  if (!leaf.leaf_grad.defined() && !grad.is_unique() && grad.device() != Device::meta) {
    leaf.leaf_grad = zeros(grad.shape(), grad.dtype());
  }
  add_to(leaf.leaf_grad, std::move(grad));
}

void walk(const std::shared_ptr<Node>& first, std::size_t first_output, Tensor seed) {
  struct Pending {
    std::shared_ptr<Node> node;
    std::vector<Tensor> grads;
  };
  std::map<std::uint64_t, Pending, std::greater<>> pending;
  const auto deliver = [&](const std::shared_ptr<Node>& node, std::size_t output, Tensor grad) {
    Pending& entry = pending[node->order];
    if (!entry.node) entry = {node, std::vector<Tensor>(node->outputs)};
    add_to(entry.grads[output], std::move(grad));
  };
  deliver(first, first_output, std::move(seed));
  const NoGrad no_grad;
  while (!pending.empty()) {
    auto handle = pending.extract(pending.begin());
    Node& node = *handle.mapped().node;
    if (!node.backward) {
      fail(ErrorCode::value, "backward",
           fmt::format(
               "the tape of {} was walked before and its saved tensors are freed; compute the forward again",
               node.operation));
    }
    std::vector<Tensor> grads;
    {
      const autograd::Backward backward = std::exchange(node.backward, nullptr);
      grads = backward(handle.mapped().grads);
    }  // the saved tensors are freed here
    const auto inputs = std::exchange(node.inputs, {});
    handle.mapped().grads.clear();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i] || i >= grads.size() || !grads[i].defined()) continue;
      check_gradient(node, i, grads[i]);
      if (inputs[i]->node) {
        deliver(inputs[i]->node, inputs[i]->output, std::move(grads[i]));
      } else {
        give_to_leaf(*inputs[i], std::move(grads[i]));
      }
    }
  }
}

void Meta::backward(const Tensor& root, const Tensor& seed) {
  Tensor start = seed;
  if (!start.defined()) {
    if (root.numel() != 1) {
      fail(ErrorCode::shape, "backward",
           fmt::format("tensor is {}; want one element, or a seed of its shape", root.describe()));
    }
    start = ones(root.shape(), root.dtype(), root.device());
  } else if (!(seed.shape() == root.shape()) || seed.dtype() != root.dtype() || !seed.is_contiguous()) {
    fail(ErrorCode::shape, "backward",
         fmt::format("seed is {}; want contiguous {}", seed.describe(), root.describe()));
  }
  if (node) {
    walk(node, output, std::move(start));
  } else {
    give_to_leaf(*this, std::move(start));
  }
}

}  // namespace

NoGrad::NoGrad() : before_(std::exchange(recording_now, false)) {}
NoGrad::~NoGrad() { recording_now = before_; }

Tensor require_grad(const Tensor& x) {
  if (!is_floating(x.dtype())) {
    fail(ErrorCode::dtype, "require_grad", fmt::format("tensor is {}; want a floating dtype", x.describe()));
  }
  if (!x.requires_grad()) x.set_gradient_state(std::make_shared<Meta>());
  return x;
}

namespace autograd {

bool recording() { return recording_now; }
bool checkpointing() { return checkpointing_now; }

bool needs_grad(std::initializer_list<Tensor> inputs) {
  return recording_now && std::any_of(inputs.begin(), inputs.end(), wants_grad);
}
bool needs_grad(const std::vector<Tensor>& inputs) {
  return recording_now && std::any_of(inputs.begin(), inputs.end(), wants_grad);
}

bool is_leaf(const Tensor& x) {
  return !wants_grad(x) || !std::static_pointer_cast<Meta>(x.gradient_state())->node;
}

Saved::Saved(const Tensor& tensor) {
  if (!tensor.defined()) return;
  tensor_ = tensor.detach();
  version_ = tensor.version();
}

const Tensor& Saved::get(const char* operation) const {
  if (tensor_.defined() && tensor_.version() != version_) {
    fail(ErrorCode::value, operation,
         fmt::format("a {} saved for the backward pass was written to since (version {}, saved at {})",
                     tensor_.describe(), tensor_.version(), version_));
  }
  return tensor_;
}

void record(const char* operation, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
            Backward backward) {
  auto node = std::make_shared<Node>();
  node->order = next_order.fetch_add(1, std::memory_order_relaxed);
  node->operation = operation;
  node->outputs = outputs.size();
  node->backward = std::move(backward);
  for (const Tensor& input : inputs) {
    node->inputs.push_back(wants_grad(input) ? std::static_pointer_cast<Meta>(input.gradient_state())
                                             : nullptr);
    node->input_shapes.push_back(input.defined() ? input.shape() : Shape());
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].defined() || !is_floating(outputs[i].dtype())) continue;
    auto meta = std::make_shared<Meta>();
    meta->node = node;
    meta->output = i;
    outputs[i].set_gradient_state(std::move(meta));
  }
}

}  // namespace autograd

Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& body,
                  const std::vector<Tensor>& inputs, std::initializer_list<Generator*> generators) {
  if (!recording_now) return body(inputs);
  std::vector<std::pair<Generator*, Generator>> states;
  for (Generator* generator : generators) {
    if (generator) states.emplace_back(generator, *generator);
  }
  Tensor out;
  {
    const NoGrad no_grad;
    const Within checkpointing(checkpointing_now, true);
    out = body(inputs).detach();
  }
  // The inputs may need no gradient while parameters inside body do: an undefined input cannot stand for
  // those, so the node is recorded always.
  std::vector<autograd::Saved> saved(inputs.begin(), inputs.end());
  std::vector<bool> wanted;
  for (const Tensor& input : inputs) wanted.push_back(autograd::wants_grad(input));
  autograd::record("checkpoint", inputs, {out}, [=](const std::vector<Tensor>& grads) {
    std::vector<Tensor> again;
    for (std::size_t i = 0; i < saved.size(); ++i) {
      again.push_back(saved[i].get("checkpoint").detach());
      if (wanted[i]) require_grad(again.back());
    }
    std::vector<Generator> now;
    for (const auto& [generator, state] : states) now.push_back(std::exchange(*generator, state));
    Tensor second;
    {
      const Within recording(recording_now, true), checkpointing(checkpointing_now, true);
      second = body(again);
    }
    for (std::size_t i = 0; i < states.size(); ++i) *states[i].first = now[i];
    if (second.requires_grad()) second.backward(grads[0]);
    std::vector<Tensor> out_grads;
    for (const Tensor& input : again) out_grads.push_back(input.grad());
    return out_grads;
  });
  return out;
}

}  // namespace headway::inline v1
