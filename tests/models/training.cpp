#include <algorithm>

#include <headway/models/decoding.h>

#include "models/tiny.h"

namespace headway {
namespace {

using testing::batch_of;
using testing::random_sentences;
using testing::Sentences;

/// Adam (Kingma & Ba 2015, algorithm 1), plainly: the optimizers belong to a higher layer.
class PlainAdam {
 public:
  explicit PlainAdam(const nn::Module& model) : parameters_(model.parameters()) {
    for (const auto& parameter : parameters_) {
      first_.emplace_back(static_cast<std::size_t>(parameter.tensor.numel()), 0.f);
      second_.push_back(first_.back());
    }
  }
  void step(double rate) {
    ++steps_;
    const double scale = rate * std::sqrt(1 - std::pow(0.98, steps_)) / (1 - std::pow(0.9, steps_));
    for (std::size_t p = 0; p < parameters_.size(); ++p) {
      const Tensor& tensor = parameters_[p].tensor;
      const Tensor grad = tensor.grad();
      auto* w = tensor.data<float>();
      const auto* g = grad.data<float>();
      for (std::size_t i = 0; i < first_[p].size(); ++i) {
        first_[p][i] = 0.9f * first_[p][i] + 0.1f * g[i];
        second_[p][i] = 0.98f * second_[p][i] + 0.02f * g[i] * g[i];
        w[i] -= static_cast<float>(scale * first_[p][i] / (std::sqrt(second_[p][i]) + 1e-9));
      }
      tensor.bump_version();
      tensor.set_grad({});
    }
  }

 private:
  std::vector<nn::NamedParameter> parameters_;
  std::vector<std::vector<float>> first_, second_;
  int steps_ = 0;
};

Sentences reversed(Sentences sentences) {
  for (auto& sentence : sentences) std::reverse(sentence.begin(), sentence.end());
  return sentences;
}

double accuracy_after_training(const models::TransformerOptions& options, int steps) {
  Generator generator(1), noise(2);
  models::Transformer model(options, generator);
  model.train(noise);
  PlainAdam adam(model);
  for (int step = 0; step < steps; ++step) {
    const Sentences sources =
        random_sentences(48, 6, options.source_vocab, 100 + static_cast<std::uint64_t>(step));
    model.loss(batch_of(sources, reversed(sources)), 0.05).backward();
    adam.step(3e-3 * std::min(1.0, (step + 1) / 40.0) * std::min(1.0, 4.0 * (steps - step) / steps));
  }
  model.eval();
  const Sentences sources = random_sentences(200, 6, options.source_vocab, 99);
  const Sentences want = reversed(sources), got = models::translate(model, sources);
  int right = 0;
  for (std::size_t i = 0; i < want.size(); ++i) right += got[i] == want[i];
  return right / 200.0;
}

models::TransformerOptions reversal() {
  models::TransformerOptions options;
  options.source_vocab = options.target_vocab = 14;
  options.model_dim = 48;
  options.heads = 4;
  options.encoder_layers = options.decoder_layers = 1;
  options.feed_forward_dim = 96;
  options.max_length = 16;
  options.dropout = 0;
  return options;
}

TEST(Training, reversing_sentences_is_learned) { EXPECT_GT(accuracy_after_training(reversal(), 500), 0.95); }

TEST(Training, reversing_is_learned_in_bfloat16_post_norm_with_shared_tables) {
  models::TransformerOptions options = reversal();
  options.precision = DType::bfloat16;
  options.norm = nn::NormPlacement::post;
  options.share_source = true;
  options.dropout = 0.02;
  EXPECT_GT(accuracy_after_training(options, 500), 0.95);
}

}  // namespace
}  // namespace headway
