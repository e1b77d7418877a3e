#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <headway/core/export.h>

namespace headway::inline v1::train {

/// A number that is not finite is written as null.
using LogValue = std::variant<std::int64_t, double, std::string>;
using LogLine = std::vector<std::pair<std::string, LogValue>>;

/// log.jsonl: one JSON object per line, appended at once, so that a killed program leaves at most one broken
/// line, the last.
class HEADWAY_API RunLog {
 public:
  /// Opens it for appending, cut back to its first `keep_bytes` bytes.
  RunLog(const std::filesystem::path& path, std::int64_t keep_bytes);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  void write(const LogLine& line);
  /// Makes what was written durable, and returns the file's length: a checkpoint records it.
  std::int64_t sync();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t bytes_ = 0;
};

}  // namespace headway::inline v1::train
