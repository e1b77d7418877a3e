#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/io/atomic_file.h>
#include <headway/io/image.h>

#include "io/inflate.h"
#include "io/jpeg_check.h"

namespace headway::inline v1::io {
namespace {

// What stb_image may still allocate on this thread: a few bytes of a PNG can ask for gigabytes.
thread_local std::uint64_t budget = 0;

constexpr std::size_t kRoom = alignof(std::max_align_t);  // in front of each block, for its size

void* budget_allocate(std::size_t size) {
  if (size > budget) return nullptr;
  auto* block = static_cast<char*>(std::malloc(kRoom + size));
  if (!block) return nullptr;
  budget -= size;
  std::memcpy(block, &size, sizeof size);
  return block + kRoom;
}

std::size_t size_of_block(const void* pointer) {
  std::size_t size = 0;
  std::memcpy(&size, static_cast<const char*>(pointer) - kRoom, sizeof size);
  return size;
}

void budget_free(void* pointer) {
  if (!pointer) return;
  budget += size_of_block(pointer);
  std::free(static_cast<char*>(pointer) - kRoom);
}

void* budget_reallocate(void* pointer, std::size_t size) {
  void* fresh = budget_allocate(size);
  if (!fresh || !pointer) return fresh;
  std::memcpy(fresh, pointer, std::min(size, size_of_block(pointer)));
  budget_free(pointer);
  return fresh;
}

}  // namespace
}  // namespace headway::inline v1::io

// Only formats that are used for photographs and drawings, and that announce themselves. GIF, PSD and PIC of
// this version are known to read beyond their buffers.
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_ONLY_PNM
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS 65535
#define STBI_MALLOC(size) headway::io::budget_allocate(size)
#define STBI_REALLOC(pointer, size) headway::io::budget_reallocate(pointer, size)
#define STBI_FREE(pointer) headway::io::budget_free(pointer)
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

namespace headway::inline v1::io {
namespace {

constexpr std::uint64_t kSpare = std::uint64_t{1} << 20;

[[noreturn]] void refuse(std::string_view what, std::string_view message) {
  fail(ErrorCode::format, "decode_image", fmt::format("{}: {}", what, message));
}

struct Free {
  void operator()(void* pointer) const { budget_free(pointer); }
};

}  // namespace

Image decode_image(std::span<const std::byte> bytes, std::string_view what, const ImageLimits& limits) {
  const std::uint64_t most = std::min<std::uint64_t>(limits.file_bytes, std::uint64_t{1} << 30);
  if (bytes.size() > most) refuse(what, fmt::format("it has {} bytes; want at most {}", bytes.size(), most));
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto size = static_cast<int>(bytes.size());
  if (const std::string_view fault = jpeg_fault(bytes); !fault.empty()) {
    refuse(what, fmt::format("it is a JPEG {}", fault));
  }
  int width = 0, height = 0, channels = 0;
  budget = kSpare + 4 * bytes.size();
  if (size == 0 || !stbi_info_from_memory(data, size, &width, &height, &channels)) {
    refuse(what, "it is no PNG, JPEG, BMP or PNM, or its header is damaged");
  }
  const std::int64_t count = std::int64_t{width} * height;
  if (width < 1 || height < 1 || count > limits.pixels) {
    refuse(what, fmt::format("it has {} x {} pixels; want 1 to {}", width, height, limits.pixels));
  }
  budget = kSpare + 4 * bytes.size() + 16 * static_cast<std::uint64_t>(count);
  const std::unique_ptr<unsigned char, Free> pixels(
      stbi_load_from_memory(data, size, &width, &height, &channels, 3));
  if (!pixels) refuse(what, fmt::format("it is damaged: {}", stbi_failure_reason()));
  if (std::int64_t{width} * height != count) refuse(what, "it gives two sizes");
  return {height, width, std::vector<std::uint8_t>(pixels.get(), pixels.get() + 3 * count)};
}

std::optional<std::vector<std::uint8_t>> inflate(std::span<const std::byte> packed, std::uint64_t limit) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 30;
  if (packed.size() > kMost || limit > kMost) return std::nullopt;
  // A buffer twice too long, and the one that it grew from.
  budget = kSpare + 3 * limit;
  int size = 0;
  const std::unique_ptr<char, Free> out(stbi_zlib_decode_noheader_malloc(
      reinterpret_cast<const char*>(packed.data()), static_cast<int>(packed.size()), &size));
  if (!out || size < 0 || static_cast<std::uint64_t>(size) > limit) return std::nullopt;
  return std::vector<std::uint8_t>(out.get(), out.get() + size);
}

Image read_image(const std::filesystem::path& path, const ImageLimits& limits) {
  const std::string bytes = read_file(path, limits.file_bytes);
  return decode_image(std::as_bytes(std::span(bytes)), path.string(), limits);
}

}  // namespace headway::inline v1::io
