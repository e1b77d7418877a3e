#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <span>

#include <headway/core/tensor.h>
#include <headway/io/image.h>

namespace headway::inline v1::io {

/// The fields of preprocessor_config.json, by its names.
struct ImageProcessorOptions {
  bool do_resize = true;
  std::int64_t height = 224, width = 224;
  std::int64_t shortest_edge = 0;  ///< if not 0, the shorter side's length; the other keeps the ratio
  Resample resample = Resample::bilinear;
  bool do_center_crop = false;
  std::int64_t crop_height = 224, crop_width = 224;
  bool do_rescale = true;
  double rescale_factor = 1.0 / 255;
  bool do_normalize = true;
  std::array<double, 3> image_mean{0.5, 0.5, 0.5}, image_std{0.5, 0.5, 0.5};
};

/// Turns images into what a vision model takes: resized, cropped, rescaled, then (x - mean) / std for each of
/// red, green, blue: the classes ViT-, DeiT-, BeiT-, CLIP-, Bit- and SiglipImageProcessor of transformers.
class HEADWAY_API ImageProcessor {
 public:
  explicit ImageProcessor(const ImageProcessorOptions& options = {});
  /// Reads FOLDER/preprocessor_config.json. Absent fields are those of the class that it names (ViT's without
  /// one). Error(unsupported) names a class or field whose function is not here; Error(format) a wrong value.
  static ImageProcessor load(const std::filesystem::path& folder);

  const ImageProcessorOptions& options() const { return options_; }
  /// float32 [3, H, W].
  Tensor operator()(const Image& image) const;
  /// float32 [B, 3, H, W]. Error(shape) when the images come out in different sizes.
  Tensor operator()(std::span<const Image> images) const;

 private:
  Image sized(const Image& image) const;
  void fill(const Image& image, float* out) const;
  ImageProcessorOptions options_;
};

}  // namespace headway::inline v1::io
