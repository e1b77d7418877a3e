#include <headway/train/average.h>

#include <algorithm>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/core/parallel.h>
#include <headway/core/quote.h>
#include <headway/kernels/adam.h>
#include <headway/ops/views.h>

namespace headway::inline v1::train {

ExponentialAverage::ExponentialAverage(std::vector<nn::NamedParameter> parameters, double decay)
    : parameters_(std::move(parameters)), decay_(decay) {
  if (!(decay > 0) || !(decay < 1)) {
    fail(ErrorCode::value, "average", fmt::format("decay is {}; want more than 0 and less than 1", decay));
  }
  for (const auto& [name, tensor] : parameters_) {
    if (!tensor.is_contiguous())
      fail(ErrorCode::unsupported, "average", fmt::format("{} is not contiguous", quoted(name)));
    averages_.push_back(Tensor::empty(tensor.shape(), tensor.dtype()));
    std::copy_n(static_cast<const char*>(tensor.raw()),
                static_cast<std::size_t>(tensor.numel()) * size_of(tensor.dtype()),
                static_cast<char*>(averages_.back().raw()));
  }
}

// Calls body(dtype, average, weight, elements) for pieces of all parameters.
template <typename Body>
void ExponentialAverage::for_blocks(Body&& body) const {
  constexpr std::int64_t kBlock = 1 << 15;
  for (std::size_t i = 0; i < averages_.size(); ++i) {
    const Tensor& average = averages_[i];
    const Tensor& weight = parameters_[i].tensor;
    const std::size_t width = size_of(weight.dtype());
    core::parallel_ranges(weight.numel(), kBlock, [&](std::int64_t begin, std::int64_t end) {
      const std::size_t skip = static_cast<std::size_t>(begin) * width;
      body(weight.dtype(), static_cast<char*>(average.raw()) + skip, static_cast<char*>(weight.raw()) + skip,
           end - begin);
    });
  }
}

void ExponentialAverage::update() {
  const auto t = static_cast<double>(++updates_);
  const double keep = std::min(decay_, (1 + t) / (10 + t));
  for_blocks([&](DType dtype, char* average, const char* weight, std::int64_t count) {
    kernels::blend(dtype, average, weight, count, keep);
  });
}

void ExponentialAverage::swap() {
  for_blocks([](DType dtype, char* average, char* weight, std::int64_t count) {
    std::swap_ranges(average, average + static_cast<std::size_t>(count) * size_of(dtype), weight);
  });
  for (const auto& parameter : parameters_) parameter.tensor.bump_version();
}

std::vector<io::NamedTensor> ExponentialAverage::state() const {
  std::vector<io::NamedTensor> state;
  for (std::size_t i = 0; i < averages_.size(); ++i) state.push_back({parameters_[i].name, averages_[i]});
  return state;
}

void ExponentialAverage::load_state(const std::vector<io::NamedTensor>& from, std::int64_t updates,
                                    std::string_view what) {
  io::assign(state(), from, what);
  updates_ = updates;
}

std::vector<io::NamedTensor> average_files(const std::vector<std::filesystem::path>& files) {
  if (files.empty()) fail(ErrorCode::value, "average_files", "files are 0; want at least 1");
  const NoGrad no_grad;
  std::vector<io::NamedTensor> first = io::load_safetensors(files.front()).tensors;
  std::vector<io::NamedTensor> next = first;  // same names and shapes: assign() checks each file against them
  std::vector<std::vector<double>> sums(first.size());
  for (std::size_t f = 0; f < files.size(); ++f) {
    if (f > 0) io::assign(next, io::load_safetensors(files[f]).tensors, files[f].string());
    for (std::size_t i = 0; i < next.size(); ++i) {
      const Tensor& t = next[i].tensor;
      if (!is_floating(t.dtype())) continue;
      const std::vector<double> values = cast(t, DType::float64).to_vector<double>();
      if (f == 0) sums[i].assign(values.size(), 0);
      for (std::size_t k = 0; k < values.size(); ++k) sums[i][k] += values[k];
    }
  }
  for (std::size_t i = 0; i < next.size(); ++i) {
    Tensor& t = next[i].tensor;
    if (!is_floating(t.dtype())) continue;
    for (double& sum : sums[i]) sum /= static_cast<double>(files.size());
    t = cast(from(sums[i], t.shape()), t.dtype());
  }
  return next;
}

}  // namespace headway::inline v1::train
