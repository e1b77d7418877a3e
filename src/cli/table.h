#pragma once
#include <string>
#include <vector>

namespace headway::cli {

/// Rows of cells in columns as wide as their longest cell (counted in characters); the first row is the
/// heading. The first column is flush left, and so is the last if it is words.
void print_table(const std::vector<std::vector<std::string>>& rows, bool words_last = false);

/// "3.2 ms", "1.4 s", "85 µs".
std::string time_text(double seconds);
/// "12.5 MiB", "640 KiB".
std::string bytes_text(double bytes);

}  // namespace headway::cli
