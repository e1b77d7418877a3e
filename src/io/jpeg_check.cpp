#include "io/jpeg_check.h"

#include <cstdint>

namespace headway::inline v1::io {
namespace {

constexpr int kStart = 0xd8, kEnd = 0xd9, kScan = 0xda, kTables = 0xc4;

class JpegSegments {
 public:
  explicit JpegSegments(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::string_view fault() const {
    if (at(0) != 0xff || at(1) != kStart) return "";
    std::size_t next = 2;
    for (int marker = 0; marker != kScan;) {  // one segment after another, up to the first scan
      if (at(next) != 0xff) return "with a segment that is cut or of a wrong length";
      while (at(next + 1) == 0xff) ++next;  // fill bytes
      marker = at(next + 1);
      if (marker == kEnd) return "without a scan";
      if (marker == kTables && !tables_fit(next)) return "with a Huffman table of more than 256 codes";
      next += 2 + static_cast<std::size_t>(word(next + 2));
    }
    // In what follows, codes and further segments, a marker is a pair of bytes that codes do not contain.
    bool ended = false;
    for (; next + 1 < bytes_.size(); ++next) {
      if (at(next) != 0xff) continue;
      const int marker = at(next + 1);
      if (marker == kTables && !tables_fit(next)) return "with a Huffman table of more than 256 codes";
      if (marker == kScan) ended = false;
      if (marker == kEnd) ended = true;
    }
    return ended ? "" : "without its end";
  }

 private:
  // Beyond the end, 0: as the decoder sees it.
  int at(std::size_t i) const { return i < bytes_.size() ? std::to_integer<int>(bytes_[i]) : 0; }
  int word(std::size_t i) const { return at(i) << 8 | at(i + 1); }

  // A segment of tables: for each a byte of its kind, the numbers of codes of 1 to 16 bits, and the symbols.
  bool tables_fit(std::size_t marker) const {
    int left = word(marker + 2) - 2;
    std::size_t next = marker + 4;
    while (left > 0) {
      int codes = 0;
      for (std::size_t i = 1; i <= 16; ++i) codes += at(next + i);
      if (codes > 256) return false;
      left -= 17 + codes;
      next += 17 + static_cast<std::size_t>(codes);
    }
    return true;
  }

  std::span<const std::byte> bytes_;
};

}  // namespace

std::string_view jpeg_fault(std::span<const std::byte> bytes) { return JpegSegments(bytes).fault(); }

}  // namespace headway::inline v1::io
