#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include <headway/core/factory.h>
#include <headway/models/batch.h>
#include <headway/models/decoding.h>
#include <headway/models/transformer.h>

#include "support/compare.h"

namespace headway::testing {

using Sentences = std::vector<std::vector<std::int32_t>>;

inline models::TransformerOptions tiny_options() {
  models::TransformerOptions options;
  options.source_vocab = 23;
  options.target_vocab = 19;
  options.model_dim = 32;
  options.heads = 4;
  options.encoder_layers = options.decoder_layers = 2;
  options.feed_forward_dim = 48;
  options.max_length = 40;
  options.dropout = 0;
  return options;
}

/// `count` sentences of tokens in [3, vocabulary), of 1 to `longest` tokens.
inline Sentences random_sentences(std::int64_t count, std::uint64_t longest, std::int64_t vocabulary,
                                  std::uint64_t seed) {
  Generator generator(seed);
  Sentences out(static_cast<std::size_t>(count));
  for (auto& sentence : out) {
    sentence.resize(1 + generator.below(longest));
    for (auto& token : sentence) {
      token = static_cast<std::int32_t>(3 + generator.below(static_cast<std::uint64_t>(vocabulary - 3)));
    }
  }
  return out;
}

/// Start token 1, end token 2.
inline models::TranslationBatch batch_of(const Sentences& sources, const Sentences& targets) {
  Sentences in, out;
  for (const auto& target : targets) {
    in.push_back(target);
    in.back().insert(in.back().begin(), 1);
    out.push_back(target);
    out.back().push_back(2);
  }
  const models::PackedBatch source = models::pack(sources), target_in = models::pack(in);
  return {source.ids, target_in.ids, models::pack(out).ids, source.offsets, target_in.offsets};
}

inline Tensor logits_of(models::Transformer& model, const models::TranslationBatch& batch) {
  const Tensor memory = model.encode(batch.source, batch.source_offsets);
  return model.logits(model.decode(batch.target_in, {batch.target_offsets, memory, batch.source_offsets}));
}

/// Two ways of computing the same activations in float32 differ by the rounding of their sums: each of the
/// about 7 products of each of 4 layers adds up to 48 terms, and each term's rounding may go either way.
inline constexpr double kReordered = 7 * 4 * 48 * 0x1p-24;

inline void expect_near_all(const Tensor& got, const Tensor& want, double relative) {
  ASSERT_EQ(got.shape().str(), want.shape().str());
  const std::vector<double> a = values_of(got), b = values_of(want);
  double largest = 0;
  for (const double value : b) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], relative * largest) << "element " << i;
}

}  // namespace headway::testing
