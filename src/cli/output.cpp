#include "cli/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string>
#include <system_error>

#include <headway/core/error.h>

namespace headway::cli {
namespace {

constexpr std::size_t kBuffer = std::size_t{1} << 16;

std::string& buffer() {
  static std::string text;
  return text;
}

[[noreturn]] void give_up(int error) {
  buffer().clear();
  fail(ErrorCode::io, "standard output",
       fmt::format("cannot be written: {}", std::generic_category().message(error)));
}

// 0, or the reason why not all of it was written.
int write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

}  // namespace

void prepare_standard_files() {
  // The wrong way round on purpose: reading from standard output or writing to standard input must fail.
  for (const auto& [descriptor, mode] : {std::pair{0, O_WRONLY}, {1, O_RDONLY}, {2, O_RDONLY}}) {
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) ::open("/dev/null", mode);
  }
  std::signal(SIGPIPE, SIG_IGN);
}

void write_out(std::string_view text) {
  static const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  buffer() += text;
  if (buffer().size() >= kBuffer || (terminal && text.ends_with('\n'))) flush_out();
}

void put_json(const nlohmann::ordered_json& value, int indent) {
  write_out(value.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void flush_out() {
  if (const int error = write_all(STDOUT_FILENO, buffer()); error != 0) give_up(error);
  buffer().clear();
}

void close_out() {
  flush_out();
  if (::close(STDOUT_FILENO) != 0 && errno != EINTR) give_up(errno);
}

void complain(std::string_view message) {
  std::string line(message);
  std::replace(line.begin(), line.end(), '\n', ' ');
  write_all(STDERR_FILENO, line + "\n");
}

}  // namespace headway::cli
