#include <headway/text/line_reader.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <headway/core/error.h>

#include "text/file.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

LineReader::LineReader(int descriptor, std::string name, const LineOptions& options)
    : descriptor_(descriptor), name_(std::move(name)), options_(options) {
  while (waiting_.size() < kByteOrderMark.size() && kByteOrderMark.starts_with(waiting_) && fill()) {
  }
  if (waiting_.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
}

LineReader::LineReader(const std::filesystem::path& file, const LineOptions& options)
    : LineReader(open_to_read(file, options.operation), file.string(), options) {}

LineReader LineReader::standard_input(const LineOptions& options) {
  return LineReader(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3), "standard input", options);
}

LineReader::~LineReader() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

LineReader::LineReader(LineReader&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      name_(std::move(other.name_)),
      options_(std::move(other.options_)),
      waiting_(std::move(other.waiting_)),
      at_(other.at_),
      number_(other.number_),
      ended_(other.ended_),
      too_long_(other.too_long_) {}

std::string LineReader::place() const { return fmt::format("{}, line {}", name_, number_); }

void LineReader::refuse(const std::string& message) const {
  fail(ErrorCode::format, options_.operation, fmt::format("{}, {}", place(), message));
}

// More bytes behind those that wait; false at the end.
bool LineReader::fill() {
  if (ended_) return false;
  waiting_.erase(0, std::exchange(at_, 0));
  char bytes[1 << 16];
  ssize_t got = -1;
  do {
    got = ::read(descriptor_, bytes, sizeof bytes);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    fail(ErrorCode::io, options_.operation,
         fmt::format("{} cannot be read: {}", name_, std::generic_category().message(errno)));
  }
  ended_ = got == 0;
  waiting_.append(bytes, static_cast<std::size_t>(got));
  return !ended_;
}

void LineReader::skip_line() {
  std::size_t end = 0;
  while ((end = waiting_.find('\n', at_)) == std::string::npos) {
    at_ = waiting_.size();
    if (!fill()) break;
  }
  at_ = end == std::string::npos ? waiting_.size() : end + 1;
  too_long_ = false;
}

bool LineReader::next(std::string& line) {
  if (too_long_) skip_line();
  std::size_t end = 0;
  std::size_t looked_at = 0;  // of what waits, without a line end
  while ((end = waiting_.find('\n', at_ + looked_at)) == std::string::npos) {
    looked_at = waiting_.size() - at_;
    if (looked_at > options_.max_bytes + 1) {  // the CR of a line end may be among them
      ++number_;
      too_long_ = true;
      refuse(fmt::format("is longer than {} bytes; want at most so many", options_.max_bytes));
    }
    if (!fill()) break;
  }
  if (end == std::string::npos && looked_at == 0) return false;
  ++number_;
  const bool complete = end != std::string::npos;
  std::string_view text(waiting_);
  text = text.substr(at_, complete ? end - at_ : std::string_view::npos);
  at_ += text.size() + (complete ? 1 : 0);
  if (complete && text.ends_with('\r')) text.remove_suffix(1);
  check(text);
  line = text;
  return true;
}

void LineReader::check(std::string_view line) const {
  if (line.size() > options_.max_bytes)
    refuse(fmt::format("is {} bytes long; want at most {}", line.size(), options_.max_bytes));
  if (const std::size_t nul = line.find('\0'); nul != std::string_view::npos)
    refuse(fmt::format("has a NUL at position {}; want text", nul));
  require_utf8(line, options_.operation, place() + ",");
}

}  // namespace headway::inline v1::text
