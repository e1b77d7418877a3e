#pragma once
// The smallest thing that learns: from a target token to the next, through an embedding, dropout and a linear
// layer.
#include <cmath>
#include <string>
#include <vector>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/ops/embedding.h>
#include <headway/ops/linear.h>
#include <headway/ops/loss.h>
#include <headway/ops/pointwise.h>
#include <headway/train/batches.h>
#include <headway/train/trainer.h>

namespace headway::test {

inline constexpr std::int32_t kVocabulary = 12;

/// Sentences whose next token is mostly a fixed function of the present one.
inline std::vector<train::Example> tiny_corpus(int count) {
  Generator generator(99);
  std::vector<train::Example> examples;
  for (int i = 0; i < count; ++i) {
    train::Example e;
    auto token = static_cast<std::int32_t>(3 + generator.below(9));
    const std::uint64_t length = 2 + generator.below(9);
    for (std::uint64_t k = 0; k < length; ++k) {
      e.source.push_back(token);
      e.target.push_back(token);
      token = generator.below(10) == 0 ? static_cast<std::int32_t>(3 + generator.below(9))
                                       : 3 + (token * 5 + 1) % 9;
    }
    examples.push_back(std::move(e));
  }
  return examples;
}

/// One of these is what a started program holds: nothing survives it but the folder.
struct Tiny {
  Generator initial{1}, dropout_generator{2};
  Tensor table = require_grad(randn({kVocabulary, 8}, initial));
  Tensor weight = require_grad(randn({kVocabulary, 8}, initial));
  Tensor bias = require_grad(zeros({kVocabulary}));
  std::vector<nn::NamedParameter> parameters{{"table", table}, {"weight", weight}, {"bias", bias}};
  train::Adam optimizer{parameters, {.weight_decay = 0.01, .clip_norm = 1}};
  train::BatchStream batches{tiny_corpus(60), {.tokens = 60, .pool = 16, .seed = 5}};

  using Task = train::StreamTask<train::BatchStream>;
  Task::Parts parts() {
    return {.parameters = parameters,
            .stream = &batches,
            .generator = &dropout_generator,
            .loss = [this](const train::Batch& batch) { return loss(batch, true); },
            .evaluate = [this](std::int64_t) { return evaluate(); }};
  }
  Tensor loss(const train::Batch& batch, bool training) {
    Tensor x = embedding(batch.target_in, table);
    if (training) x = dropout(x, 0.1, dropout_generator);
    return cross_entropy(linear(x, weight, bias), batch.target_out);
  }
  train::Evaluation evaluate() {
    double total = 0;
    const auto all = train::all_batches(batches.examples(), batches.options());
    for (const train::Batch& batch : all) total += static_cast<double>(loss(batch, false).item<float>());
    const double mean = total / static_cast<double>(all.size());
    return {.score = -mean, .metrics = {{"validation_loss", mean}}};
  }
  std::vector<float> weights() const {
    std::vector<float> all;
    for (const auto& p : parameters) {
      const auto values = p.tensor.to_vector<float>();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
};

}  // namespace headway::test
