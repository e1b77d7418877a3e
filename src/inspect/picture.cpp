#include <headway/inspect/picture.h>

#include <algorithm>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/io/atomic_file.h>

#include "inspect/markup.h"

namespace headway::inline v1::inspect {
namespace {

constexpr double kCell = 34, kLetter = 8.2, kMargin = 14, kTitle = 30;
constexpr float kWorthANumber = 0.1f;

std::string shown(std::string token) {
  constexpr std::string_view kBlank = "\xe2\x96\x81";  // ▁ begins a word: its blank says nothing here
  for (std::size_t at; (at = token.find(kBlank)) != std::string::npos;) token.erase(at, kBlank.size());
  return escaped(token);
}

// Letters, not bytes.
double width_of(const std::vector<std::string>& labels) {
  std::size_t longest = 1;
  for (const std::string& label : labels) {
    longest =
        std::max(longest, static_cast<std::size_t>(std::count_if(label.begin(), label.end(), [](char c) {
                   return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;
                 })));
  }
  return static_cast<double>(longest) * kLetter;
}

}  // namespace

std::string head_picture(const Tensor& weights, const PictureLabels& labels) {
  const auto rows = static_cast<std::int64_t>(labels.rows.size());
  const auto columns = static_cast<std::int64_t>(labels.columns.size());
  if (weights.rank() != 2 || weights.size(0) != rows || weights.size(1) != columns ||
      weights.dtype() != DType::float32) {
    fail(ErrorCode::shape, "head_picture",
         fmt::format("weights are {} for {} rows and {} columns; want float32 [{}, {}]", weights.describe(),
                     rows, columns, rows, columns));
  }
  const double left = kMargin + width_of(labels.rows) + 8;
  // Column labels lean at 45 degrees.
  const double top = kTitle + width_of(labels.columns) * 0.72 + 20;
  const double width =
      left + static_cast<double>(columns) * kCell + width_of(labels.columns) * 0.72 + kMargin;
  const double height = top + static_cast<double>(rows) * kCell + kMargin;
  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0:.0f}' height='{1:.0f}' viewBox='0 0 {0:.0f} "
      "{1:.0f}' "
      "role='img' aria-label='{2}'>\n<style>text{{font:14px system-ui,sans-serif;fill:#222}}"
      ".t{{font-weight:600}}.n{{font-size:11px;text-anchor:middle}}</style>\n"
      "<rect width='100%' height='100%' fill='#fff'/>\n<text x='{3}' y='20' class='t'>{2}</text>\n",
      width, height, escaped(labels.title), kMargin);
  for (std::int64_t j = 0; j < columns; ++j) {
    const double x = left + (static_cast<double>(j) + 0.5) * kCell;
    out += fmt::format("<text transform='translate({:.1f} {:.1f}) rotate(-45)'>{}</text>\n", x, top - 6,
                       shown(labels.columns[static_cast<std::size_t>(j)]));
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    const double y = top + static_cast<double>(i) * kCell;
    out += fmt::format("<text x='{:.1f}' y='{:.1f}' text-anchor='end'>{}</text>\n", left - 8,
                       y + kCell / 2 + 5, shown(labels.rows[static_cast<std::size_t>(i)]));
    for (std::int64_t j = 0; j < columns; ++j) {
      const float weight = weights.data<float>()[i * weights.stride(0) + j * weights.stride(1)];
      const double x = left + static_cast<double>(j) * kCell;
      out += fmt::format(
          "<rect x='{:.1f}' y='{:.1f}' width='{}' height='{}' fill='#1f5fa8' fill-opacity='{:.3f}' "
          "stroke='#dde3ea'/>\n",
          x, y, kCell, kCell, weight);
      if (weight >= kWorthANumber) {
        out += fmt::format("<text x='{:.1f}' y='{:.1f}' class='n'{}>{:.2f}</text>\n", x + kCell / 2,
                           y + kCell / 2 + 4, weight > 0.55f ? " style='fill:#fff'" : "", weight);
      }
    }
  }
  return out + "</svg>\n";
}

void write_head_picture(const std::filesystem::path& path, const Tensor& weights,
                        const PictureLabels& labels) {
  io::write_file(path, head_picture(weights, labels));
}

}  // namespace headway::inline v1::inspect
