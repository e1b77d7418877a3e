#pragma once
#include <charconv>
#include <concepts>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <headway/core/quote.h>

#include "train/range.h"

// How the program's options are read: every text as it was given, byte for byte, every number whole and in
// its range.
namespace headway::cli {

using train::above_zero;
using train::any_seed;
using train::from_zero;
using train::Range;
using train::share;
using train::whole;

/// The program's arguments, so spelled that CLI11 takes none of them for a list ("[a, b]"), an empty one
/// ("{}") or a separator ("%%"): undone by the options below and by read_verbatim(). A "--" that ends the
/// line, where nothing is left to tell from options, is a text.
std::vector<std::string> spell_arguments(int argc, char** argv);
std::string unspell(std::string_view argument);
/// Lets every option of a command, and of those below it, read its arguments as they were given.
void read_verbatim(CLI::App& app);

/// Any number of texts, as they are.
CLI::Option* add_texts(CLI::App& app, const std::string& names, std::vector<std::string>& values,
                       const std::string& help);

/// The whole of `text` as a number in decimal (no "0x10", no blank, no "1e999"), or nothing.
template <typename T>
std::optional<T> number_of(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// A number in its range; anything else is refused, with the range. Shows the default unless it is no value
/// of the option.
template <typename T>
CLI::Option* add_number(CLI::App& app, const std::string& names, T& value, const Range& range,
                        const std::string& help) {
  const CLI::callback_t read = [&value, range, names](const CLI::results_t& given) {
    using Number = typename std::conditional_t<std::is_arithmetic_v<T>, std::optional<T>, T>::value_type;
    const auto number = number_of<Number>(given.back());
    if (!number || !range.holds(*number)) {
      throw CLI::ValidationError(names,
                                 fmt::format("is {}; want {}", quoted(given.back()), range.wanted<Number>()));
    }
    value = *number;
    return true;
  };
  CLI::Option* option = app.add_option(names, read, help)->type_name("NUMBER");
  if constexpr (std::is_arithmetic_v<T>) {
    if (range.holds(value)) option->default_str(fmt::format("{}", value));
  }
  return option;
}

}  // namespace headway::cli
