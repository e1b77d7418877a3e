#include <headway/nn/embedding.h>

#include <cmath>

#include <fmt/format.h>

#include <headway/nn/initial.h>

namespace headway::inline v1::nn {

Embedding::Embedding(const EmbeddingLayerOptions& options, Generator& generator) : options_(options) {
  if (options.vocabulary < 1 || options.width < 1) {
    fail(ErrorCode::shape, "Embedding",
         fmt::format("sizes are a vocabulary of {} and a width of {}; want at least 1 each",
                     options.vocabulary, options.width));
  }
  weight_ = add_parameter("weight", normal_rows(options.vocabulary, options.width, generator));
}

Tensor Embedding::operator()(const Tensor& ids, const Tensor& positions, const Tensor& position_ids) const {
  EmbeddingOptions how;
  how.scale = options_.scaled ? std::sqrt(static_cast<double>(options_.width)) : 1.0;
  how.output = options_.output;
  how.positions = positions;
  how.position_ids = position_ids;
  return embedding(ids, weight_, how);
}

}  // namespace headway::inline v1::nn
