#include <headway/kernels/norm.h>

#include <algorithm>
#include <cmath>

// The oracle of normalization: two passes for the statistics, the textbook's gradient.
namespace headway::inline v1::kernels {

template <>
void norm_forward(const NormForward<double>& args) {
  const auto dim = static_cast<double>(args.dim);
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const std::int64_t base = row * args.dim;
    for (std::int64_t i = base; args.sum && i < base + args.dim; ++i) {
      double value = args.x[i];
      if (args.dropout.active()) value = args.dropout.keeps(i) ? value * args.dropout.scale() : 0;
      args.sum[i] = args.residual ? args.residual[i] + value : value;
    }
    const double* s = (args.sum ? args.sum : args.x) + base;
    double mean = 0, variance = 0;
    for (std::int64_t i = 0; !args.rms && i < args.dim; ++i) mean += s[i] / dim;
    for (std::int64_t i = 0; i < args.dim; ++i) variance += (s[i] - mean) * (s[i] - mean) / dim;
    const double rstd = 1 / std::sqrt(variance + args.eps);
    for (std::int64_t i = 0; i < args.dim; ++i) {
      args.output[base + i] = (s[i] - mean) * rstd * args.weight[i] + (args.bias ? args.bias[i] : 0);
    }
    if (args.mean) args.mean[row] = mean;
    args.rstd[row] = rstd;
  }
}

template <>
void norm_backward(const NormBackward<double>& args) {
  const auto dim = static_cast<double>(args.dim);
  if (args.d_weight) std::fill_n(args.d_weight, args.dim, 0.0);
  if (args.d_bias) std::fill_n(args.d_bias, args.dim, 0.0);
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const std::int64_t base = row * args.dim;
    const double mean = args.mean ? args.mean[row] : 0;
    const double rstd = args.rstd[row];
    const auto hat = [&](std::int64_t i) { return (args.s[base + i] - mean) * rstd; };
    double mean_g = 0, mean_gh = 0;
    for (std::int64_t i = 0; i < args.dim; ++i) {
      const double dy = args.d_output[base + i];
      const double g = dy * args.weight[i];
      if (args.mean) mean_g += g / dim;
      mean_gh += g * hat(i) / dim;
      if (args.d_weight) args.d_weight[i] += dy * hat(i);
      if (args.d_bias) args.d_bias[i] += dy;
    }
    for (std::int64_t i = 0; i < args.dim; ++i) {
      const double g = args.d_output[base + i] * args.weight[i];
      const double ds = rstd * (g - mean_g - hat(i) * mean_gh) + (args.d_sum ? args.d_sum[base + i] : 0);
      if (args.d_s) args.d_s[base + i] = ds;
      if (!args.d_x) continue;
      const bool dropped = args.dropout.active() && !args.dropout.keeps(base + i);
      args.d_x[base + i] = dropped ? 0 : ds * (args.dropout.active() ? args.dropout.scale() : 1);
    }
  }
}

}  // namespace headway::inline v1::kernels
