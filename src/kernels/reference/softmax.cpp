#include <headway/kernels/softmax.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <headway/kernels/loss.h>

// The oracle of softmax and what is built on it.
namespace headway::inline v1::kernels {
namespace {

// log Σ exp(row); -inf for a row of -inf.
double log_sum_exp(const double* row, std::int64_t dim) {
  double largest = -std::numeric_limits<double>::infinity();
  for (std::int64_t i = 0; i < dim; ++i) largest = std::max(largest, row[i]);
  if (largest == -std::numeric_limits<double>::infinity()) return largest;
  double sum = 0;
  for (std::int64_t i = 0; i < dim; ++i) sum += std::exp(row[i] - largest);
  return largest + std::log(sum);
}

}  // namespace

template <>
void softmax(bool log, std::int64_t rows, std::int64_t dim, const double* x, double* y) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const double lse = log_sum_exp(x + row * dim, dim);
    const bool empty = lse == -std::numeric_limits<double>::infinity();
    for (std::int64_t i = row * dim; i < (row + 1) * dim; ++i) {
      const double value = empty ? lse : x[i] - lse;
      y[i] = log ? value : std::exp(value);
    }
  }
}

template <>
void softmax_backward(bool log, std::int64_t rows, std::int64_t dim, const double* y, const double* dy,
                      double* dx) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t base = row * dim;
    double sum = 0, mass = 0;
    for (std::int64_t i = base; i < base + dim; ++i) {
      mass += log ? std::exp(y[i]) : y[i];
      sum += log ? dy[i] : dy[i] * y[i];
    }
    for (std::int64_t i = base; i < base + dim; ++i) {
      dx[i] = mass == 0 ? 0 : log ? dy[i] - std::exp(y[i]) * sum : y[i] * (dy[i] - sum);
    }
  }
}

template <>
void cross_entropy_forward(const CrossEntropy<double>& args, double* lse, double* losses) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const double* logits = args.logits + row * args.classes;
    losses[row] = lse[row] = 0;
    if (args.targets[row] == args.ignore_index) continue;
    lse[row] = log_sum_exp(logits, args.classes);
    double mean = 0;
    for (std::int64_t i = 0; i < args.classes; ++i) mean += logits[i] / static_cast<double>(args.classes);
    losses[row] = (1 - args.smoothing) * (lse[row] - logits[args.targets[row]]);
    if (args.smoothing != 0) losses[row] += args.smoothing * (lse[row] - mean);
  }
}

template <>
void cross_entropy_backward(const CrossEntropy<double>& args, const double* lse, double factor,
                            double* d_logits) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (std::int64_t i = 0; i < args.classes; ++i) {
      const std::int64_t at = row * args.classes + i;
      const double target = (i == args.targets[row] ? 1 - args.smoothing : 0) +
                            args.smoothing / static_cast<double>(args.classes);
      const bool ignored = args.targets[row] == args.ignore_index;
      d_logits[at] = ignored ? 0 : factor * (std::exp(args.logits[at] - lse[row]) - target);
    }
  }
}

template <>
void token_scores(const CrossEntropy<double>& args, float* log_probability, bool* correct) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const double* logits = args.logits + row * args.classes;
    const double value = logits[args.targets[row]];
    log_probability[row] = static_cast<float>(value - log_sum_exp(logits, args.classes));
    correct[row] = std::max_element(logits, logits + args.classes) - logits == args.targets[row];
  }
}

}  // namespace headway::inline v1::kernels
