#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace headway::cli {
namespace {

constexpr auto kTerminalEvery = std::chrono::milliseconds(100);
constexpr auto kPipeEvery = std::chrono::seconds(10);

std::size_t columns(std::FILE* stream) {
  winsize size{};
  return ::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string duration(double seconds) {
  const auto s = static_cast<long long>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  return s < 3600 ? fmt::format("{}:{:02}", s / 60, s % 60)
                  : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string short_number(double value) {
  if (value < 999.5) return fmt::format("{:.0f}", value);
  if (value < 999'950) return fmt::format("{:.1f}k", value / 1e3);
  return fmt::format("{:.1f}M", value / 1e6);
}

Progress::Progress(std::string label, std::FILE* stream)
    : label_(std::move(label)), stream_(stream), terminal_(::isatty(::fileno(stream)) == 1) {}

std::string Progress::line(std::int64_t done, std::int64_t total, const std::string& details,
                           double left) const {
  const double spent = std::chrono::duration<double>(Clock::now() - start_).count();
  std::string text = label_;
  if (total > 0) {
    const double share = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
    if (terminal_) {
      constexpr int kBar = 24;
      const int full = static_cast<int>(share * kBar);
      text += " ";
      for (int i = 0; i < kBar; ++i) text += i < full ? "█" : "░";
    }
    text += fmt::format(" {:3.0f} %  {}/{}", std::floor(100 * share), done, total);
    if (left < 0 && done > 0) left = spent / static_cast<double>(done) * static_cast<double>(total - done);
  } else {
    text += fmt::format(" {}", done);
  }
  if (!details.empty()) text += "  " + details;
  if (total > 0 && done >= total) return text + "  in " + duration(spent);
  return left >= 0 ? text + "  " + duration(left) + " left" : text;
}

void Progress::update(std::int64_t done, std::int64_t total, const std::string& details,
                      double seconds_left) {
  const auto now = Clock::now();
  pending_ = true;
  latest_ = line(done, total, details, seconds_left);
  const Clock::duration every = terminal_ ? Clock::duration(kTerminalEvery) : Clock::duration(kPipeEvery);
  if (now - drawn_ < every) return;
  drawn_ = now;
  draw();
}

void Progress::draw() {
  if (terminal_) {
    // Characters, not bytes, fill the line: a bar's blocks have three bytes each.
    std::string shown;
    std::size_t width = columns(stream_) - 1;
    for (const char c : latest_) {
      const bool begins = (static_cast<unsigned char>(c) & 0xC0) != 0x80;
      if (begins && width-- == 0) break;
      shown += c;
    }
    show("\r" + shown + "\x1b[K");
  } else {
    show(latest_ + "\n");
    pending_ = false;
  }
}

// Nobody may be reading, and the work goes on: it is the results that must arrive.
void Progress::show(const std::string& text) {
  std::fputs(text.c_str(), stream_);
  std::fflush(stream_);
}

void Progress::note(const std::string& text) {
  if (!terminal_) {
    show(text + "\n");
    return;
  }
  show("\r\x1b[K" + text + "\n");
  if (!latest_.empty()) draw();
}

void Progress::finish() {
  if (!pending_) return;
  draw();
  if (terminal_) show("\n");
  pending_ = false;
  latest_.clear();
}

}  // namespace headway::cli
