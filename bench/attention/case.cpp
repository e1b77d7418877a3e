#include "attention/case.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>

#include <headway/core/error.h>
#include <headway/core/generator.h>
#include <headway/core/parallel.h>

namespace headway::bench {
namespace {

enum Array { kQuery, kKey, kValue, kOutputGrad, kOutput, kQueryGrad, kKeyGrad, kValueGrad, kLogSum, kArrays };
constexpr std::array<const char*, kArrays> kNames{"q", "k", "v", "d_o", "o", "dq", "dk", "dv", "lse"};

// [B, T, H, D] for queries and what belongs to them, [B, S, G, D] for keys and values; statistics are [H,
// B·T].
bool of_keys(int array) {
  return array == kKey || array == kValue || array == kKeyGrad || array == kValueGrad;
}
std::int64_t elements(const CaseOptions& o, int array) {
  if (array == kLogSum) return o.heads * o.batch * o.queries;
  return o.batch * o.dim * (of_keys(array) ? o.keys * o.kv_heads : o.queries * o.heads);
}

// Element i as the type stores it; inputs are first rounded to bfloat16, so that every dtype starts from the
// same numbers.
void store(void* array, DType dtype, std::int64_t i, float value) {
  const bfloat16 rounded(value);
  switch (dtype) {
    case DType::bfloat16:
      static_cast<bfloat16*>(array)[i] = rounded;
      return;
    case DType::float64:
      static_cast<double*>(array)[i] = static_cast<double>(static_cast<float>(rounded));
      return;
    default:
      static_cast<float*>(array)[i] = static_cast<float>(rounded);
  }
}

double fetch(const void* array, DType dtype, std::int64_t i) {
  switch (dtype) {
    case DType::bfloat16:
      return static_cast<double>(static_cast<float>(static_cast<const bfloat16*>(array)[i]));
    case DType::float64:
      return static_cast<const double*>(array)[i];
    default:
      return static_cast<double>(static_cast<const float*>(array)[i]);
  }
}

// Nearly normal: the sum of four uniform numbers, of mean 0 and deviation 1.
void fill(void* array, DType dtype, std::int64_t count, std::uint64_t call) {
  const RandomCall random{1, call};
  core::parallel_ranges(count, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float sum = -2;
      for (const std::uint32_t word : random.words(static_cast<std::uint64_t>(i)))
        sum += core::uniform01(word);
      store(array, dtype, i, sum * std::sqrt(3.0f));
    }
  });
}

}  // namespace

Tensor nine_of_ten(std::int64_t length) {
  const Tensor out = Tensor::empty({length, length}, DType::boolean);
  const RandomCall call{7, 0};
  for (std::int64_t i = 0; i < out.numel(); ++i)
    out.data<bool>()[i] = call.words(static_cast<std::uint64_t>(i))[0] % 10 != 0;
  return out;
}

void save_array(const std::string& folder, const std::string& name, const void* data, std::size_t bytes) {
  const std::string path = folder + "/" + name + ".bin";
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  if (!file.flush()) fail(ErrorCode::io, "bench_attention", "cannot write " + path);
}

double forward_operations(const CaseOptions& o) {
  const auto queries = static_cast<double>(o.queries), keys = static_cast<double>(o.keys);
  const double pairs = o.causal ? queries * (keys - (queries - 1) / 2) : queries * keys;
  return 2.0 * 2.0 * static_cast<double>(o.batch * o.heads * o.dim) * pairs;
}

double key_value_bytes(const CaseOptions& o) {
  return 2.0 * static_cast<double>(elements(o, kKey)) * static_cast<double>(size_of(o.dtype));
}

Case::Case(const CaseOptions& options) : options_(options) {
  constexpr std::int64_t kFar = std::int64_t{1} << 60;
  for (int i = 0; i < kArrays; ++i) {
    const bool statistic = i == kLogSum;
    const std::size_t width = options.dtype == DType::float64 ? 8 : statistic ? 4 : size_of(options.dtype);
    const std::int64_t count = elements(options, i);
    arrays_.push_back(std::make_unique<core::Workspace>(static_cast<std::size_t>(count) * width));
    if (i <= kOutputGrad)
      fill(arrays_.back()->as<void>(), options.dtype, count, static_cast<std::uint64_t>(i));
  }
  const std::int64_t ahead = options.keys - options.queries;
  for (std::int64_t b = 0; b < options.batch; ++b) {
    sequences_.push_back({.query_begin = b * options.queries,
                          .query_count = options.queries,
                          .key_begin = b * options.keys,
                          .key_count = options.keys,
                          .low = -kFar,
                          .high = options.causal ? ahead : kFar,
                          .position = ahead,
                          .index = b});
  }
  const auto at = [&](Array a) { return arrays_[a]->as<void>(); };
  kernels::AttentionArgs& forward = args_.forward;
  forward.dtype = options.dtype;
  forward.sequences = sequences_;
  forward.heads = options.heads;
  forward.kv_heads = options.kv_heads;
  forward.dim = forward.value_dim = options.dim;
  forward.q = rows(kQuery);
  forward.k = rows(kKey);
  forward.v = rows(kValue);
  forward.o = rows(kOutput);
  forward.scale = 1 / std::sqrt(static_cast<double>(options.dim));
  forward.lse = at(kLogSum);
  forward.lse_rows = options.batch * options.queries;
  args_.d_o = rows(kOutputGrad);
  args_.dq = rows(kQueryGrad);
  args_.dk = rows(kKeyGrad);
  args_.dv = rows(kValueGrad);
  if (options.masked) {
    mask_ = Mask::allow(nine_of_ten(options.queries));
    plan_ = TilePlan(mask_, PlanShape::padded(options.batch, options.heads, options.queries, options.keys));
    forward.mask = &mask_;
    forward.plan = &plan_;
  }
  if (options.dtype == DType::float64) return;
  forward_space_ =
      std::make_unique<core::Workspace>(kernels::attention_forward_workspace(forward, threads()));
  backward_space_ =
      std::make_unique<core::Workspace>(kernels::attention_backward_workspace(args_, threads()));
}

kernels::HeadRows Case::rows(int array) const {
  const std::int64_t heads = of_keys(array) ? options_.kv_heads : options_.heads;
  return {arrays_[static_cast<std::size_t>(array)]->as<void>(), heads * options_.dim, options_.dim};
}

void Case::forward() {
  if (options_.dtype == DType::float64) return kernels::reference::attention_forward(args_.forward);
  kernels::attention_forward(args_.forward, forward_space_->as<void>());
}

void Case::backward() {
  if (options_.dtype == DType::float64) return kernels::reference::attention_backward(args_);
  kernels::attention_backward(args_, backward_space_->as<void>());
}

std::vector<std::pair<std::string, std::vector<double>>> Case::results() const {
  std::vector<std::pair<std::string, std::vector<double>>> out;
  for (const Array array : {kOutput, kQueryGrad, kKeyGrad, kValueGrad}) {
    std::vector<double>& values = out.emplace_back(kNames[array], std::vector<double>()).second;
    for (std::int64_t i = 0; i < elements(options_, array); ++i)
      values.push_back(fetch(arrays_[array]->as<void>(), options_.dtype, i));
  }
  return out;
}

void Case::save(const std::string& folder) const {
  for (int i = 0; i <= kValueGrad; ++i) {
    save_array(folder, kNames[static_cast<std::size_t>(i)], arrays_[static_cast<std::size_t>(i)]->as<void>(),
               static_cast<std::size_t>(elements(options_, i)) * sizeof(float));
  }
}

double error_against_oracle(const CaseOptions& options) {
  CaseOptions exact = options;
  exact.dtype = DType::float64;
  Case ours(options), oracle(exact);
  for (Case* each : {&ours, &oracle}) {
    each->forward();
    each->backward();
  }
  const auto got = ours.results();
  const auto want = oracle.results();
  double worst = 0;
  for (std::size_t a = 0; a < got.size(); ++a) {
    double distance = 0, size = 0;
    for (std::size_t i = 0; i < got[a].second.size(); ++i) {
      const double d = got[a].second[i] - want[a].second[i];
      distance += d * d;
      size += want[a].second[i] * want[a].second[i];
    }
    const double error = std::sqrt(distance / size);
    // Not std::max: a NaN must be seen.
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

}  // namespace headway::bench
