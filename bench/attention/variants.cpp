#include "attention/variants.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/ops/all.h>

#include "attention/case.h"
#include "support/worker.h"

namespace headway::bench {
namespace {

constexpr std::int64_t kHeads = 8, kDim = 64;

struct Variant {
  std::string name;
  // For a length: what a call is given. Tensors in it are float32.
  std::function<AttentionOptions(std::int64_t)> options;
};

Tensor some(const Shape& shape, std::uint64_t seed) {
  Generator generator(seed);
  return randn(shape, generator);
}

// Compiled once, as those who call often do.
AttentionOptions planned(const Mask& mask, std::int64_t length) {
  AttentionOptions options;
  options.plan = TilePlan(mask, PlanShape::padded(1, kHeads, length, length));
  return options;
}

std::vector<Variant> variants(Generator& generator) {
  using Length = std::int64_t;
  return {
      {"plain", [](Length) { return AttentionOptions{}; }},
      {"causal", [](Length) { return AttentionOptions{.mask = Mask::causal()}; }},
      {"allow, nine pairs of ten", [](Length n) { return planned(Mask::allow(nine_of_ten(n)), n); }},
      {"bias [H, T, S]",
       [](Length n) {
         return AttentionOptions{.bias = some({kHeads, n, n}, 1)};
       }},
      {"bias with its gradient",
       [](Length n) {
         return AttentionOptions{.bias = require_grad(some({kHeads, n, n}, 1))};
       }},
      {"ALiBi", [](Length) { return AttentionOptions{.position = Position::alibi()}; }},
      {"T5 with its gradient",
       [](Length) {
         return AttentionOptions{.position = Position::t5(require_grad(some({32, kHeads}, 2)))};
       }},
      {"softcap", [](Length) { return AttentionOptions{.softcap = 30}; }},
      {"dropout", [&generator](Length) { return AttentionOptions{.dropout = 0.1, .generator = &generator}; }},
      {"window(512, 0)", [](Length) { return AttentionOptions{.mask = Mask::window(512, 0)}; }},
      {"window | global", [](Length n) { return planned(Mask::window(256, 256) | Mask::global({0}), n); }},
      {"big_bird", [](Length n) { return planned(Mask::big_bird(), n); }},
      {"strided(128)", [](Length n) { return planned(Mask::strided(128), n); }},
  };
}

struct Run {
  Tensor q, k, v, d_output;
  explicit Run(std::int64_t length)
      : q(require_grad(some({1, length, kHeads, kDim}, 3))),
        k(require_grad(some({1, length, kHeads, kDim}, 4))),
        v(require_grad(some({1, length, kHeads, kDim}, 5))),
        d_output(some({1, length, kHeads, kDim}, 6)) {}
  // Seconds of forward and of backward; the objective's own operations, a few passes over the output, count.
  std::pair<double, double> time(const AttentionOptions& options) const {
    for (const Tensor& x : {q, k, v}) x.set_grad(Tensor());
    const double begin = now();
    const Tensor output = attention(q, k, v, options).output;
    const double middle = now();
    sum(mul(output, d_output)).backward();
    return {middle - begin, now() - middle};
  }
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

}  // namespace

void print_variants(std::int64_t length, int rounds) {
  Generator generator(1);
  const Run run(length);
  struct Row {
    std::string name;
    AttentionOptions options;
    double share;
    std::vector<double> forward, backward;
  };
  std::vector<Row> rows;
  for (const Variant& variant : variants(generator)) {
    Row row{variant.name, variant.options(length), 1, {}, {}};
    const AttentionExplanation told = explain_attention(run.q, run.k, run.v, row.options);
    row.share = told.visible_pairs / told.pairs;
    rows.push_back(std::move(row));
  }
  for (int round = -1; round < rounds; ++round) {  // one to warm up
    for (Row& row : rows) {
      const auto [forward, backward] = run.time(row.options);
      if (round < 0) continue;
      row.forward.push_back(forward);
      row.backward.push_back(backward);
    }
  }
  const double forward = median(rows[0].forward), backward = median(rows[0].backward);
  fmt::print(
      "| T = {} | pairs | forward | × plain | × its share | backward | × plain | × its share |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n",
      length);
  for (const Row& row : rows) {
    const double f = median(row.forward), b = median(row.backward);
    fmt::print("| {} | {:.2f} % | {:.1f} ms | {:.2f} | {:.2f} | {:.1f} ms | {:.2f} | {:.2f} |\n", row.name,
               100 * row.share, 1e3 * f, f / forward, f / forward / row.share, 1e3 * b, b / backward,
               b / backward / row.share);
  }
}

}  // namespace headway::bench
