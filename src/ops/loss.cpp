#include <headway/ops/loss.h>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/kernels/loss.h>
#include <headway/kernels/pointwise.h>
#include <ops/dispatch.h>

namespace headway::inline v1 {
namespace {

void check(const char* operation, const Tensor& logits, const Tensor& targets) {
  detail::require_floating(operation, logits);
  if (logits.rank() != 2) {
    fail(ErrorCode::shape, operation, fmt::format("logits is {}; want [N, V]", logits.describe()));
  }
  if (targets.dtype() != DType::int32 || targets.rank() != 1 || targets.size(0) != logits.size(0)) {
    fail(ErrorCode::shape, operation,
         fmt::format("targets is {}; want int32 [{}] for logits {}", targets.describe(), logits.size(0),
                     logits.describe()));
  }
}

// The number of targets that count.
std::int64_t check_targets(const char* operation, const Tensor& targets, std::int64_t classes,
                           const std::int32_t* ignore) {
  const auto* values = targets.data<std::int32_t>();
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < targets.numel(); ++i) {
    if (ignore && values[i] == *ignore) continue;
    ++count;
    if (values[i] >= 0 && values[i] < classes) continue;
    fail(ErrorCode::value, operation,
         fmt::format("target {} at place {} is outside the {} classes of logits; want 0 to {}{} (is the "
                     "vocabulary size "
                     "the tokenizer's?)",
                     values[i], i, classes, classes - 1,
                     ignore ? fmt::format(", or {} to ignore", *ignore) : ""));
  }
  return count;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options) {
  constexpr const char* kName = "cross_entropy";
  check(kName, logits, targets);
  if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1)) {
    fail(ErrorCode::value, kName, fmt::format("label_smoothing is {}; want 0 to 1", options.label_smoothing));
  }
  if (!(options.divisor >= 0)) {
    fail(ErrorCode::value, kName,
         fmt::format("divisor is {}; want a positive number, or 0 for the mean", options.divisor));
  }
  const std::int64_t rows = logits.size(0), classes = logits.size(1);
  const DType compute = detail::compute_dtype(logits.dtype());
  const Device device = detail::device_of({logits, targets});
  const Tensor input = detail::plain(logits), labels = detail::plain(targets);
  Tensor out = Tensor::empty({}, compute, device);
  const Tensor lse = Tensor::empty({rows}, compute, device);
  double inverse = 0;
  if (device != Device::meta) {
    const std::int64_t counted = check_targets(kName, labels, classes, &options.ignore_index);
    const double divisor = options.divisor > 0 ? options.divisor : static_cast<double>(counted);
    inverse = divisor > 0 ? 1 / divisor : 0;  // no target counts: the loss is 0, and so is its gradient
    const core::Workspace losses(static_cast<std::size_t>(rows) * sizeof(double));
    detail::with_floating(kName, logits, [&]<typename T>() {
      using C = kernels::compute_t<T>;
      kernels::cross_entropy_forward<T>({.rows = rows,
                                         .classes = classes,
                                         .logits = input.data<T>(),
                                         .targets = labels.data<std::int32_t>(),
                                         .ignore_index = options.ignore_index,
                                         .smoothing = options.label_smoothing},
                                        lse.data<C>(), losses.as<double>());
      *out.data<C>() = static_cast<C>(kernels::sum(losses.as<double>(), rows) * inverse);
    });
  }
  if (autograd::needs_grad({logits})) {
    const autograd::Saved kept = input, kept_labels = labels, kept_lse = lse;
    autograd::record(kName, {logits}, {out}, [=](const std::vector<Tensor>& grads) {
      const Tensor& saved = kept.get(kName);
      Tensor d_logits = Tensor::empty(saved.shape(), saved.dtype(), saved.device());
      if (device != Device::meta) {
        detail::with_floating(kName, saved, [&]<typename T>() {
          using C = kernels::compute_t<T>;
          kernels::cross_entropy_backward<T>({.rows = rows,
                                              .classes = classes,
                                              .logits = saved.data<T>(),
                                              .targets = kept_labels.get(kName).data<std::int32_t>(),
                                              .ignore_index = options.ignore_index,
                                              .smoothing = options.label_smoothing},
                                             kept_lse.get(kName).data<C>(), *grads[0].data<C>() * inverse,
                                             d_logits.data<T>());
        });
      }
      return std::vector<Tensor>{d_logits};
    });
  }
  return out;
}

TokenScores token_scores(const Tensor& logits, const Tensor& targets) {
  check("token_scores", logits, targets);
  const std::int64_t rows = logits.size(0), classes = logits.size(1);
  const Device device = detail::device_of({logits, targets});
  TokenScores scores{Tensor::empty({rows}, DType::float32, device),
                     Tensor::empty({rows}, DType::boolean, device)};
  if (device == Device::meta) return scores;
  const Tensor input = detail::plain(logits), labels = detail::plain(targets);
  check_targets("token_scores", labels, classes, nullptr);
  detail::with_floating("token_scores", logits, [&]<typename T>() {
    kernels::token_scores<T>({.rows = rows,
                              .classes = classes,
                              .logits = input.data<T>(),
                              .targets = labels.data<std::int32_t>(),
                              .ignore_index = -1,
                              .smoothing = 0},
                             scores.log_probability.data<float>(), scores.correct.data<bool>());
  });
  return scores;
}

}  // namespace headway::inline v1
