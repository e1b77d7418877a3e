#pragma once
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

// Standard output. Every command writes through these alone, so that what could not be written is noticed,
// whatever the reason (a full disk, a reader that is gone, no output at all): Error(io).
namespace headway::cli {

/// To be called first: what the program opens must never become its standard input, output or error, and a
/// pipe without a reader is an error like another, not a signal.
void prepare_standard_files();

void write_out(std::string_view text);
/// Text in the manner of fmt::print.
template <typename... Args>
void put(fmt::format_string<Args...> format, Args&&... args) {
  write_out(fmt::format(format, std::forward<Args>(args)...));
}
/// A value and a line end. Ill-formed UTF-8, which a path may hold, becomes U+FFFD. indent -1: one line.
void put_json(const nlohmann::ordered_json& value, int indent = -1);

/// Passes on what was written so far: the reader sees it now.
void flush_out();
/// The last call: some file systems tell only here that there was no space.
void close_out();

/// One line on standard error. Never fails: there is nowhere left to complain.
void complain(std::string_view message);

}  // namespace headway::cli
