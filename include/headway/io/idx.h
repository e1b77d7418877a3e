#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include <headway/core/export.h>
#include <headway/core/shape.h>

namespace headway::inline v1::io {

/// Unsigned bytes of any shape, row-major: the images and labels of MNIST and its kin.
struct IdxArray {
  Shape shape;
  std::vector<std::uint8_t> values;
};

/// Reads an IDX file (LeCun's description of MNIST: two zeros, the type, the rank, big-endian sizes, the
/// data), also gzipped, as packages have them: the checksum is compared. Error(format) for what is cut, too
/// long, damaged, of another element type than unsigned bytes, or over `limit` bytes unpacked.
HEADWAY_API IdxArray read_idx(const std::filesystem::path& path,
                              std::uint64_t limit = std::uint64_t{1} << 29);

}  // namespace headway::inline v1::io
