#include "attention/variants.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/allocator.h>
#include <headway/core/factory.h>
#include <headway/ops/all.h>

#include "attention/case.h"
#include "support/worker.h"

namespace headway::bench {
namespace {

constexpr std::int64_t kBlock = 64;  // of the BigBird pattern

Tensor some(const Shape& shape, std::uint64_t seed) {
  Generator generator(seed);
  return randn(shape, generator);
}

void save_tensor(const std::string& folder, const std::string& name, const Tensor& x) {
  save_array(folder, name, x.raw(), static_cast<std::size_t>(x.numel()) * size_of(x.dtype()));
}

// bool [T / 64, T / 64]: what a pattern of blocks shows of the first pair of each, which all others share.
Tensor seen_blocks(const Mask& mask, std::int64_t length) {
  const std::int64_t count = (length + kBlock - 1) / kBlock;
  const Tensor out = Tensor::empty({count, count}, DType::boolean);
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j < count; ++j) {
      out.data<bool>()[i * count + j] =
          mask.visible({.query = i * kBlock, .key = j * kBlock, .queries = length, .keys = length});
    }
  }
  return out;
}

// As those write it who call often: compiled once, where bounds do not say it.
void set_mask(const Mask& mask, const VariantOptions& options, AttentionOptions& call) {
  if (mask.bounds()) {
    call.mask = mask;
    return;
  }
  const std::int64_t length = options.lengths[0];
  call.plan = TilePlan(mask, PlanShape::padded(1, options.heads, length, length));
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

}  // namespace

VariantCase::VariantCase(const VariantOptions& options) : options_(options) {
  std::vector<std::int64_t> offsets{0};
  for (const std::int64_t length : options.lengths) offsets.push_back(offsets.back() + length);
  const bool packed = options.lengths.size() > 1;
  const std::int64_t heads = options.heads, length = options.lengths[0];
  const Shape shape =
      packed ? Shape{offsets.back(), heads, options.dim} : Shape{1, length, heads, options.dim};
  q_ = require_grad(some(shape, 3));
  k_ = require_grad(some(shape, 4));
  v_ = require_grad(some(shape, 5));
  d_output_ = some(shape, 6);
  if (packed) call_.query_offsets = call_.key_offsets = offsets;

  const std::string& name = options.variant;
  if (name == "allow") {
    extra_ = nine_of_ten(length);
    set_mask(Mask::allow(extra_), options, call_);
  } else if (name == "bias" || name == "bias, learned") {
    extra_ = some({heads, length, length}, 1);
    call_.bias = name == "bias" ? extra_ : require_grad(extra_);
  } else if (name == "ALiBi") {
    call_.position = Position::alibi();
  } else if (name == "T5, learned") {
    extra_ = some({32, heads}, 2);
    call_.position = Position::t5(require_grad(extra_));
  } else if (name == "Shaw") {  // Shaw et al. 2018, §4.1: distances are clipped at 16
    call_.position =
        Position::shaw(require_grad(some({33, options.dim}, 7)), require_grad(some({33, options.dim}, 8)));
  } else if (name == "Transformer-XL") {
    call_.position = Position::transformer_xl(require_grad(some({2 * length - 1, heads, options.dim}, 7)),
                                              require_grad(some({heads, options.dim}, 8)),
                                              require_grad(some({heads, options.dim}, 9)), 1 - length);
  } else if (name == "rope") {
    call_.position = Position::rope();
  } else if (name == "softcap") {
    call_.softcap = 30;
  } else if (name == "dropout") {
    call_.dropout = 0.1;
    call_.generator = &generator_;
  } else if (name != "plain") {
    const Mask mask = Mask::parse(name);
    set_mask(mask, options, call_);
    if (name.starts_with("big_bird")) extra_ = seen_blocks(mask, length);
  }
  const AttentionExplanation told = explain_attention(q_, k_, v_, call_);
  share_ = told.visible_pairs / told.pairs;
}

void VariantCase::clear() {
  output_ = Tensor();
  for (const Tensor& x : {q_, k_, v_}) x.set_grad(Tensor());
}

void VariantCase::forward() {
  clear();
  output_ = attention(q_, k_, v_, call_).output;
}

void VariantCase::backward() { sum(mul(output_, d_output_)).backward(); }

void VariantCase::save(const std::string& folder) {
  const double dropout = std::exchange(call_.dropout, 0);
  forward();
  backward();
  call_.dropout = dropout;
  for (const auto& [name, tensor] : {std::pair{"q", q_},
                                     {"k", k_},
                                     {"v", v_},
                                     {"d_o", d_output_},
                                     {"o", output_},
                                     {"dq", q_.grad()},
                                     {"dk", k_.grad()},
                                     {"dv", v_.grad()},
                                     {"extra", extra_}}) {
    if (tensor.defined()) save_tensor(folder, name, tensor);
  }
}

std::int64_t peak_bytes(VariantCase& work) {
  work.forward();
  work.backward();  // what is kept from run to run is there now
  work.clear();
  const std::int64_t before = memory_stats().current;
  reset_peak();
  work.forward();
  work.backward();
  return memory_stats().peak - before;
}

void print_variants(std::int64_t length, int rounds) {
  constexpr std::array kVariants{"plain",          "causal",
                                 "allow",          "bias",
                                 "bias, learned",  "ALiBi",
                                 "T5, learned",    "rope",
                                 "Shaw",           "Transformer-XL",
                                 "softcap",        "dropout",
                                 "window(512, 0)", "window(256, 256) | global(0)",
                                 "big_bird",       "strided(128)"};
  struct Row {
    std::string name;
    std::unique_ptr<VariantCase> work;
    std::vector<double> forward, backward;
  };
  std::vector<Row> rows;
  for (const char* name : kVariants)
    rows.push_back({name, std::make_unique<VariantCase>(VariantOptions{name, {length}}), {}, {}});
  for (int round = -1; round < rounds; ++round) {  // one to warm up
    for (Row& row : rows) {
      const double begin = now();
      row.work->forward();
      const double middle = now();
      row.work->backward();
      const double end = now();
      if (round < 0) continue;
      row.forward.push_back(middle - begin);
      row.backward.push_back(end - middle);
    }
  }
  const double forward = median(rows[0].forward), backward = median(rows[0].backward);
  fmt::print(
      "| T = {} | pairs | forward | × plain | × its share | backward | × plain | × its share |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n",
      length);
  for (const Row& row : rows) {
    const double f = median(row.forward), b = median(row.backward), share = row.work->share();
    fmt::print("| {} | {:.2f} % | {:.1f} ms | {:.2f} | {:.2f} | {:.1f} ms | {:.2f} | {:.2f} |\n", row.name,
               100 * share, 1e3 * f, f / forward, f / forward / share, 1e3 * b, b / backward,
               b / backward / share);
  }
}

}  // namespace headway::bench
