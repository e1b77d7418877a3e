#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include <headway/core/export.h>
#include <headway/core/tensor.h>

namespace headway::inline v1::inspect {

/// What stands beside a map of weights. SentencePiece's "▁" is left out.
struct PictureLabels {
  std::string title;
  std::vector<std::string> rows;     ///< [T] who looks
  std::vector<std::string> columns;  ///< [S] at whom
};

/// One head's weights [T, S] (float32, as `AttentionMaps` holds them, one head of them) as an SVG picture:
/// the larger a weight, the darker its cell, and from 0.1 on with its value. Error(shape) when labels and
/// weights do not fit.
HEADWAY_API std::string head_picture(const Tensor& weights, const PictureLabels& labels);

/// head_picture() to a file, atomically.
HEADWAY_API void write_head_picture(const std::filesystem::path& path, const Tensor& weights,
                                    const PictureLabels& labels);

}  // namespace headway::inline v1::inspect
