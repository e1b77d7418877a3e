#include <headway/io/idx.h>

#include <optional>
#include <span>
#include <string>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/io/atomic_file.h>

#include "io/inflate.h"

namespace headway::inline v1::io {
namespace {

constexpr std::size_t kGzipHead = 10, kGzipTail = 8;
constexpr std::uint8_t kUnsignedByte = 8;  // the type's code

[[noreturn]] void refuse(const std::filesystem::path& path, std::string_view message) {
  fail(ErrorCode::format, "read_idx", fmt::format("{}: {}", path.string(), message));
}

using Bytes = std::vector<std::uint8_t>;

std::uint32_t little_endian(const std::uint8_t* at) {
  return static_cast<std::uint32_t>(at[0]) | static_cast<std::uint32_t>(at[1]) << 8 |
         static_cast<std::uint32_t>(at[2]) << 16 | static_cast<std::uint32_t>(at[3]) << 24;
}

std::uint32_t big_endian(const std::uint8_t* at) { return __builtin_bswap32(little_endian(at)); }

// CRC-32 of RFC 1952, by bits: the polynomial 0x04c11db7, reflected.
std::uint32_t checksum(const Bytes& bytes) {
  std::uint32_t crc = ~0U;
  for (const std::uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0xedb88320U & (0U - (crc & 1U)));
  }
  return ~crc;
}

// Where the deflate stream of a gzip member begins (RFC 1952): behind optional fields, each with its flag.
std::optional<std::size_t> skip_gzip_head(const Bytes& file) {
  if (file.size() < kGzipHead + kGzipTail || file[2] != 8 || (file[3] & 0xe0) != 0) return std::nullopt;
  const std::uint8_t flags = file[3];
  std::size_t at = kGzipHead;
  if (flags & 4) {  // extra
    if (at + 2 > file.size()) return std::nullopt;
    at += 2 + static_cast<std::size_t>(file[at] | file[at + 1] << 8);
  }
  for (const std::uint8_t flag : {8, 16}) {  // name, comment: ended by a 0
    if (!(flags & flag)) continue;
    while (at < file.size() && file[at] != 0) ++at;
    ++at;
  }
  if (flags & 2) at += 2;  // checksum of the head
  if (at + kGzipTail > file.size()) return std::nullopt;
  return at;
}

Bytes unpacked(const std::filesystem::path& path, const Bytes& file, std::uint64_t limit) {
  const std::optional<std::size_t> begin = skip_gzip_head(file);
  if (!begin) refuse(path, "its gzip header is damaged");
  const std::span<const std::uint8_t> packed(file.data() + *begin, file.size() - *begin - kGzipTail);
  const std::uint8_t* tail = file.data() + file.size() - kGzipTail;
  const std::uint32_t size = little_endian(tail + 4);
  if (size > limit) refuse(path, fmt::format("unpacks to {} bytes; want at most {}", size, limit));
  std::optional<Bytes> out = inflate(std::as_bytes(packed), size);
  if (!out || out->size() != size) refuse(path, "its gzip stream is damaged");
  if (checksum(*out) != little_endian(tail)) refuse(path, "its checksum differs");
  return std::move(*out);
}

}  // namespace

IdxArray read_idx(const std::filesystem::path& path, std::uint64_t limit) {
  const std::string text = read_file(path, limit);
  Bytes file(text.begin(), text.end());
  if (file.size() > 2 && file[0] == 0x1f && file[1] == 0x8b) file = unpacked(path, file, limit);
  if (file.size() < 4 || file[0] != 0 || file[1] != 0) refuse(path, "it does not begin as an IDX file");
  if (file[2] != kUnsignedByte) {
    refuse(path, fmt::format("has elements of type {:#x}; want unsigned bytes, 0x8", file[2]));
  }
  const std::size_t rank = file[3], head = 4 + 4 * rank;
  if (rank > Shape::max_rank || head > file.size()) refuse(path, fmt::format("has {} dimensions", rank));
  IdxArray out;
  std::uint64_t count = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    const std::uint32_t dim = big_endian(file.data() + 4 + 4 * i);
    out.shape.push_back(dim);
    if (__builtin_mul_overflow(count, std::uint64_t{dim}, &count)) count = ~std::uint64_t{0};
  }
  if (count != file.size() - head) {
    refuse(path, fmt::format("of shape {} has {} bytes of data", out.shape.str(), file.size() - head));
  }
  out.values.assign(file.begin() + static_cast<std::ptrdiff_t>(head), file.end());
  return out;
}

}  // namespace headway::inline v1::io
