#pragma once
#include <chrono>
#include <cstdio>
#include <string>

namespace headway::cli {

/// Shows how far long work has come: a bar that is drawn over and over on a terminal, plain lines now and
/// then in a pipe.
class Progress {
 public:
  /// `stream` is told apart by isatty().
  explicit Progress(std::string label, std::FILE* stream = stderr);
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// done of total (0: not known yet). details: "loss 3.21  12.3k tokens/s". seconds_left below 0: estimated
  /// here.
  void update(std::int64_t done, std::int64_t total, const std::string& details = {},
              double seconds_left = -1);
  /// A line of its own above the bar.
  void note(const std::string& line);
  /// Leaves the last state on the screen.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(std::int64_t done, std::int64_t total, const std::string& details,
                   double seconds_left) const;
  void draw();
  void show(const std::string& text);
  std::string label_;
  std::FILE* stream_;
  bool terminal_;
  Clock::time_point start_ = Clock::now(), drawn_{};
  std::string latest_;  // not shown yet, or shown on the terminal
  bool pending_ = false;
};

/// "1:05", "2:03:10".
std::string duration(double seconds);
/// "950", "12.3k", "1.2M".
std::string short_number(double value);

}  // namespace headway::cli
