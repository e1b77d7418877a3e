#include <headway/models/vit.h>

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include <headway/core/factory.h>
#include <headway/nn/initial.h>
#include <headway/ops/embedding.h>
#include <headway/ops/linear.h>
#include <headway/ops/pointwise.h>
#include <headway/ops/views.h>

#include "models/scores.h"

namespace headway::inline v1::models {
namespace {

// [out, in]: the weights with which in samples make out, by Keys' cubic with a = -3/4 between sample centres,
// edges repeated.
Tensor cubic_weights(std::int64_t in, std::int64_t out) {
  constexpr double a = -0.75;
  const auto near = [](double t) { return ((a + 2) * t - (a + 3)) * t * t + 1; };
  const auto far = [](double t) { return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a; };
  std::vector<float> weights(static_cast<std::size_t>(out * in), 0);
  for (std::int64_t o = 0; o < out; ++o) {
    const double at =
        (static_cast<double>(o) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
    const double base = std::floor(at), t = at - base;
    const std::array<double, 4> shares{far(t + 1), near(t), near(1 - t), far(2 - t)};
    for (std::int64_t k = 0; k < 4; ++k) {
      const std::int64_t i = std::clamp<std::int64_t>(static_cast<std::int64_t>(base) - 1 + k, 0, in - 1);
      weights[static_cast<std::size_t>(o * in + i)] +=
          static_cast<float>(shares[static_cast<std::size_t>(k)]);
    }
  }
  return from(weights, {out, in});
}

}  // namespace

Vit::Vit(const VitOptions& o, Generator& generator) : options_(o) {
  if (o.patch_height < 1 || o.patch_width < 1 || o.image_height % o.patch_height != 0 ||
      o.image_width % o.patch_width != 0) {
    fail(ErrorCode::shape, "Vit",
         fmt::format("images of {} x {} and patches of {} x {}; want whole patches", o.image_height,
                     o.image_width, o.patch_height, o.patch_width));
  }
  projection_ = std::make_unique<nn::Linear>(
      nn::LinearLayerOptions{.inputs = o.channels * o.patch_height * o.patch_width, .outputs = o.model_dim},
      generator);
  add_child("projection", *projection_);
  class_row_ = add_parameter("class_row", nn::normal_rows(1, o.model_dim, generator));
  positions_ = add_parameter("positions", nn::normal_rows(max_length(), o.model_dim, generator));
  const nn::NormLayerOptions norm{.width = o.model_dim, .kind = nn::NormKind::layer, .eps = o.norm_eps};
  nn::StackOptions stack{.norm = norm, .dropout = o.dropout};
  stack.blocks.assign(
      static_cast<std::size_t>(o.layers),
      {.attention = {.model_dim = o.model_dim,
                     .heads = o.heads,
                     .bias = o.qkv_bias,
                     .dropout = o.attention_dropout,
                     .output_bias = true},
       .feed_forward = {.model_dim = o.model_dim, .hidden = o.feed_forward_dim, .kind = o.activation},
       .norm = norm,
       .placement = nn::NormPlacement::pre,
       .dropout = o.dropout});
  blocks_ = std::make_unique<nn::BlockStack>(stack, generator);
  add_child("blocks", *blocks_);
  if (o.pooler) {
    pooler_ = std::make_unique<nn::Linear>(
        nn::LinearLayerOptions{.inputs = o.model_dim,
                               .outputs = o.pooler_width > 0 ? o.pooler_width : o.model_dim},
        generator);
    add_child("pooler", *pooler_);
  }
  if (o.head.kind == nn::HeadKind::none) return;
  head_ = std::make_unique<nn::TaskHead>(o.head, generator);
  add_child("head", *head_);
}

std::vector<std::int64_t> Vit::offsets(const PackedBatch& batch) const {
  std::vector<std::int64_t> out;
  const std::int64_t rows = 1 + patches(batch.images.size(2), batch.images.size(3));
  for (std::int64_t b = 0; b <= batch.images.size(0); ++b) out.push_back(b * rows);
  return out;
}

// Images as rows of patches: [B, channels, height, width] -> [B·patches, channels·patch]. The projection of a
// patch is the paper's convolution, whose steps are as long as its window.
Tensor Vit::patch_rows(const Tensor& images) const {
  const VitOptions& o = options_;
  if (!images.defined() || images.rank() != 4 || images.dtype() != DType::float32 ||
      images.size(1) != o.channels || images.size(2) % o.patch_height != 0 ||
      images.size(3) % o.patch_width != 0 || images.size(2) == 0 || images.size(3) == 0) {
    fail(ErrorCode::shape, "Vit",
         fmt::format("images are {}; want float32 [B, {}, height, width] of whole patches of {} x {}",
                     images.describe(), o.channels, o.patch_height, o.patch_width));
  }
  const std::int64_t down = images.size(2) / o.patch_height, across = images.size(3) / o.patch_width;
  const Tensor cut =
      reshape(images, {images.size(0), o.channels, down, o.patch_height, across, o.patch_width});
  // [B, down, across, channels, patch_height, patch_width]
  const Tensor ordered = transpose(transpose(transpose(cut, 1, 2), 2, 4), 3, 4);
  return reshape(contiguous(ordered),
                 {images.size(0) * down * across, o.channels * o.patch_height * o.patch_width});
}

// The position of each row of one image, [1 + patches, C].
Tensor Vit::positions_for(std::int64_t height, std::int64_t width) const {
  const VitOptions& o = options_;
  if (height == o.image_height && width == o.image_width) return positions_;
  const std::int64_t in_down = o.image_height / o.patch_height, in_across = o.image_width / o.patch_width;
  const std::int64_t down = height / o.patch_height, across = width / o.patch_width;
  const Tensor grid =
      reshape(slice(positions_, 0, 1, positions_.size(0)), {in_down, in_across * o.model_dim});
  const Tensor tall = reshape(matmul(cubic_weights(in_down, down), grid), {down, in_across, o.model_dim});
  const Tensor wide = matmul(cubic_weights(in_across, across), tall);  // [down, across, C]
  return concat({slice(positions_, 0, 0, 1), reshape(wide, {down * across, o.model_dim})}, 0);
}

Tensor Vit::hidden(const PackedBatch& batch, const nn::LayerObserver& observer) {
  const Tensor rows = (*projection_)(cast(patch_rows(batch.images), options_.precision));
  const std::vector<std::int64_t> offsets = this->offsets(batch);
  // The class row before each image's patches, and each row's position in its image.
  std::vector<std::int32_t> order, places;
  std::int32_t patch = 0;
  for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
    for (std::int64_t i = offsets[b]; i < offsets[b + 1]; ++i) {
      order.push_back(i == offsets[b] ? 0 : ++patch);
      places.push_back(static_cast<std::int32_t>(i - offsets[b]));
    }
  }
  const auto index = [](const std::vector<std::int32_t>& of) {
    return from(of, {static_cast<std::int64_t>(of.size())});
  };
  const Tensor all = concat({cast(class_row_, options_.precision), rows}, 0);
  const Tensor table = cast(positions_for(batch.images.size(2), batch.images.size(3)), options_.precision);
  Tensor x = add(gather(all, index(order)), gather(table, index(places)));
  if (training() && options_.dropout > 0) x = dropout(x, options_.dropout, *generator());
  return (*blocks_)(x, {.offsets = offsets}, nullptr, observer);
}

Tensor Vit::pooled(const Tensor& hidden, const std::vector<std::int64_t>& offsets) {
  if (!pooler_) return {};
  return nn::activate((*pooler_)(nn::pool(hidden, offsets, nn::Pooling::cls)), options_.pooler_activation);
}

Tensor Vit::scores(const PackedBatch& batch) {
  const nn::TaskHead& head = require_head(head_.get());
  const Tensor x = hidden(batch);
  const std::vector<std::int64_t> rows = offsets(batch);
  if (options_.pooling == nn::Pooling::cls) return head(nn::pool(x, rows, nn::Pooling::cls));
  std::vector<std::int32_t> patches;
  std::vector<std::int64_t> bounds{0};
  for (std::size_t b = 0; b + 1 < rows.size(); ++b) {
    for (std::int64_t i = rows[b] + 1; i < rows[b + 1]; ++i) patches.push_back(static_cast<std::int32_t>(i));
    bounds.push_back(static_cast<std::int64_t>(patches.size()));
  }
  return head(nn::pool(gather(x, from(patches, {bounds.back()})), bounds, nn::Pooling::mean));
}

}  // namespace headway::inline v1::models
