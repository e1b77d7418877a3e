#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include <headway/core/export.h>

namespace headway::inline v1::io {

/// Pixels [height, width, 3]: red, green, blue, 0 to 255.
struct Image {
  std::int64_t height = 0, width = 0;
  std::vector<std::uint8_t> pixels;
};

struct ImageLimits {
  std::int64_t pixels = std::int64_t{1} << 26;  ///< height times width
  std::uint64_t file_bytes = std::uint64_t{1} << 28;
};

/// Decodes PNG, JPEG, BMP or PNM (by stb_image) as RGB: grey is repeated, a palette looked up, alpha left
/// out, of 16 bits the upper 8 kept, as Pillow's convert("RGB") does. A rotation noted in EXIF is not
/// applied. Beyond the file's bytes, memory is at most 16 bytes a pixel, four times the file and 1 MiB.
/// Error(format) begins with `what` for damaged files and those beyond the limits.
HEADWAY_API Image decode_image(std::span<const std::byte> bytes, std::string_view what,
                               const ImageLimits& limits = {});
/// The same for a file.
HEADWAY_API Image read_image(const std::filesystem::path& path, const ImageLimits& limits = {});

/// Filters, by Pillow's names and numbers.
enum class Resample : std::uint8_t {
  nearest = 0,
  lanczos = 1,
  bilinear = 2,
  bicubic = 3,
  box = 4,
  hamming = 5
};

/// Pillow's Image.resize, byte for byte: when shrinking, the filter widens with the scale (antialiasing);
/// one direction after the other (in the order of Pillow 13), each rounded to 8 bits from 22-bit fixed point.
/// Error(value) for an empty image or a size of 0 or beyond 65535.
HEADWAY_API Image resize(const Image& image, std::int64_t height, std::int64_t width, Resample filter);

/// The middle of the image; where it is smaller than asked, it stands in the middle of black.
HEADWAY_API Image center_crop(const Image& image, std::int64_t height, std::int64_t width);

}  // namespace headway::inline v1::io
