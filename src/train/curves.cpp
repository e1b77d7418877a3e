#include <headway/train/curves.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <headway/io/atomic_file.h>

#include "io/json.h"

namespace headway::inline v1::train {
namespace {

struct Point {
  double x = 0, y = 0;
};

struct Curve {
  std::string name, color;
  bool marks = false;  // a dot at each point: measured now and then
  std::vector<Point> points;
};

struct Panel {
  std::string title;
  std::vector<Curve> curves;
};

constexpr double kWidth = 860, kLeft = 74, kRight = 24, kPanel = 210, kTop = 46, kGap = 62;

void append(Curve& curve, const io::Json& line, const char* key) {
  const auto step = line.find("step"), value = line.find(key);
  if (step == line.end() || value == line.end() || !step->is_number() || !value->is_number()) return;
  curve.points.push_back({step->get<double>(), value->get<double>()});
}

std::vector<Panel> read_panels(const std::filesystem::path& log) {
  Curve loss{"training", "#4878a8", false, {}}, validation{"validation", "#d1603d", true, {}};
  Curve bleu{"BLEU", "#3a8f5c", true, {}}, score{"score", "#3a8f5c", true, {}},
      rate{"learning rate", "#7a5aa6", false, {}};
  const std::string text = io::read_file(log);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const io::Json line = io::Json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                          text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    begin = end + 1;
    if (!line.is_object()) continue;
    append(loss, line, "loss");
    append(validation, line, "validation_loss");
    append(bleu, line, "bleu");
    append(score, line, "score");
    append(rate, line, "rate");
  }
  std::vector<Panel> panels{{"Loss per token", {}}};
  for (Curve* curve : {&loss, &validation}) {
    if (!curve->points.empty()) panels[0].curves.push_back(std::move(*curve));
  }
  if (!bleu.points.empty()) {
    panels.push_back({"Validation BLEU", {std::move(bleu)}});
  } else if (!score.points.empty()) {
    panels.push_back({"Validation score", {std::move(score)}});
  }
  panels.push_back({"Learning rate", {std::move(rate)}});
  return panels;
}

// Round numbers between low and high, about `count` of them: steps of 1, 2 or 5 times a power of ten.
std::vector<double> ticks(double low, double high, int count) {
  const double raw = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  const double lead = raw / power;
  const double step = power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
  std::vector<double> list;
  for (double k = std::ceil(low / step - 1e-9); k * step <= high + step * 1e-9; ++k) list.push_back(k * step);
  return list;
}

std::string label(double value) {
  if (std::abs(value) < 1e-12) return "0";
  std::string text = fmt::format("{:.3g}", value);
  return std::abs(value) >= 1000 && std::abs(value) < 1e7 ? fmt::format("{:.0f}", value) : text;
}

struct Range {
  double low = 0, high = 1;
};

Range range_of(const Panel& panel, double Point::*axis) {
  Range range{1e300, -1e300};
  for (const Curve& curve : panel.curves) {
    for (const Point& point : curve.points) {
      range.low = std::min(range.low, point.*axis);
      range.high = std::max(range.high, point.*axis);
    }
  }
  if (range.low > range.high) return {0, 1};
  if (range.low == range.high)
    return {range.low - std::max(0.5, std::abs(range.low) * 0.1),
            range.high + std::max(0.5, std::abs(range.high) * 0.1)};
  return range;
}

std::string draw(const Panel& panel, double top, Range steps) {
  Range values = range_of(panel, &Point::y);
  const double margin = (values.high - values.low) * 0.06;
  values = {values.low >= 0 ? std::max(0.0, values.low - margin) : values.low - margin, values.high + margin};
  const double right = kWidth - kRight, bottom = top + kPanel;
  const auto px = [&](double x) {
    return kLeft + (x - steps.low) / (steps.high - steps.low) * (right - kLeft);
  };
  const auto py = [&](double y) { return bottom - (y - values.low) / (values.high - values.low) * kPanel; };
  std::string out =
      fmt::format("<text x='{}' y='{:.1f}' class='title'>{}</text>\n", kLeft, top - 12, panel.title);
  for (const double y : ticks(values.low, values.high, 5)) {
    out += fmt::format(
        "<line x1='{}' x2='{}' y1='{:.1f}' y2='{:.1f}' class='grid'/><text x='{}' y='{:.1f}' "
        "text-anchor='end'>{}</text>\n",
        kLeft, right, py(y), py(y), kLeft - 8, py(y) + 4, label(y));
  }
  for (const double x : ticks(steps.low, steps.high, 8)) {
    out += fmt::format(
        "<line x1='{0:.1f}' x2='{0:.1f}' y1='{1:.1f}' y2='{2:.1f}' class='axis'/><text x='{0:.1f}' "
        "y='{3:.1f}' text-anchor='middle'>{4}</text>\n",
        px(x), bottom, bottom + 5, bottom + 19, label(x));
  }
  out += fmt::format("<path d='M{} {:.1f}V{:.1f}H{}' class='axis'/>\n", kLeft, top, bottom, right);
  double legend = right;
  for (auto curve = panel.curves.rbegin(); curve != panel.curves.rend(); ++curve) {
    std::string path;
    for (const Point& p : curve->points)
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", px(p.x), py(p.y));
    out += fmt::format("<path d='{}' fill='none' stroke='{}' stroke-width='1.6' stroke-linejoin='round'/>\n",
                       path, curve->color);
    if (curve->marks) {
      for (const Point& p : curve->points) {
        out += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='2.6' fill='{}'/>\n", px(p.x), py(p.y),
                           curve->color);
      }
    }
    if (panel.curves.size() > 1) {
      out += fmt::format(
          "<text x='{:.1f}' y='{:.1f}' text-anchor='end' style='fill:{};font-weight:600'>{}</text>\n", legend,
          top - 12, curve->color, curve->name);
      legend -= 90;
    }
  }
  return out;
}

}  // namespace

void write_curves(const std::filesystem::path& log, const std::filesystem::path& svg) {
  const std::vector<Panel> panels = read_panels(log);
  Range steps{1e300, -1e300};
  for (const Panel& panel : panels) {
    if (panel.curves.empty() || panel.curves.front().points.empty()) continue;
    const Range own = range_of(panel, &Point::x);
    steps = {std::min(steps.low, own.low), std::max(steps.high, own.high)};
  }
  steps = steps.low > steps.high ? Range{0, 1} : Range{0, steps.high};
  const double height = kTop + static_cast<double>(panels.size()) * (kPanel + kGap);
  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0}' height='{1}' viewBox='0 0 {0} {1}' role='img' "
      "aria-label='Training curves'>\n<style>text{{font:12px system-ui,sans-serif;fill:#444}}"
      ".title{{font-size:14px;font-weight:600;fill:#222}}.grid{{stroke:#e4e4e4}}.axis{{stroke:#888;fill:none}"
      "}</style>\n"
      "<rect width='100%' height='100%' fill='#fff'/>\n",
      kWidth, height);
  double top = kTop;
  for (const Panel& panel : panels) {
    out += draw(panel, top, steps);
    top += kPanel + kGap;
  }
  out += fmt::format("<text x='{}' y='{:.1f}' text-anchor='end'>step</text>\n</svg>\n", kWidth - kRight,
                     height - kGap + 36);
  io::write_file(svg, out);
}

}  // namespace headway::inline v1::train
