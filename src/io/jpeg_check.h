#pragma once
#include <cstddef>
#include <span>
#include <string_view>

namespace headway::inline v1::io {

/// What is wrong with the segments of a JPEG (ITU-T T.81, annex B), as the end of a sentence; "" where
/// nothing is, or for files of another format. stb_image 2.27 relies on two things that it does not check:
/// that a Huffman table has at most 256 codes (it writes beyond its arrays), and that the file is whole (it
/// fills the rest with grey).
std::string_view jpeg_fault(std::span<const std::byte> bytes);

}  // namespace headway::inline v1::io
