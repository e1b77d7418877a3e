#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace headway::inline v1::io {

/// A raw deflate stream (RFC 1951) unpacked; nothing where it is damaged or would be longer than `limit`, at
/// most 2^30 bytes. Takes three times the limit at most while it works.
std::optional<std::vector<std::uint8_t>> inflate(std::span<const std::byte> packed, std::uint64_t limit);

}  // namespace headway::inline v1::io
