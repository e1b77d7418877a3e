#include <headway/train/log.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <system_error>

#include "io/json.h"

namespace headway::inline v1::train {
namespace {

[[noreturn]] void fail_log(const std::filesystem::path& path, const char* what) {
  fail(ErrorCode::io, "log",
       fmt::format("cannot {} {}: {}", what, path.string(), std::generic_category().message(errno)));
}

io::OrderedJson json_of(const LogValue& value) {
  if (const auto* number = std::get_if<double>(&value)) {
    return std::isfinite(*number) ? io::OrderedJson(*number) : io::OrderedJson(nullptr);
  }
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return *integer;
  return std::get<std::string>(value);
}

}  // namespace

RunLog::RunLog(const std::filesystem::path& path, std::int64_t keep_bytes) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_log(path, "open");
  struct stat info {};
  const bool known = ::fstat(descriptor_, &info) == 0;
  bytes_ = std::min<std::int64_t>(keep_bytes, known ? info.st_size : 0);
  if (!known || ::ftruncate(descriptor_, bytes_) != 0) {
    const int error = errno;
    ::close(descriptor_);
    errno = error;
    fail_log(path, "cut");
  }
}

RunLog::~RunLog() { ::close(descriptor_); }

void RunLog::write(const LogLine& line) {
  io::OrderedJson object = io::OrderedJson::object();
  for (const auto& [key, value] : line) object[key] = json_of(value);
  const std::string text = io::dump_json(object, -1) + "\n";
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(descriptor_, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_log(path_, "write");
    done += static_cast<std::size_t>(written);
  }
  bytes_ += static_cast<std::int64_t>(text.size());
}

std::int64_t RunLog::sync() {
  if (::fsync(descriptor_) != 0) fail_log(path_, "sync");
  return bytes_;
}

}  // namespace headway::inline v1::train
