// Resampling as Pillow does it (its documentation: "Filters"; the arithmetic was measured against it).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/io/image.h>

namespace headway::inline v1::io {
namespace {

constexpr std::int64_t kMaxSide = 65535;
constexpr int kBits = 22;  // of a weight's fraction: 8 of the sum are the result, 2 hold overshoot

struct Filter {
  double support;  // half its width, in pixels of the output or, when enlarging, of the input
  double (*weight)(double);
};

double sinc(double x) {
  if (x == 0) return 1;
  const double angle = std::numbers::pi * x;
  return std::sin(angle) / angle;
}

Filter filter_of(Resample resample) {
  switch (resample) {
    case Resample::box:
      return {0.5, [](double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }};
    case Resample::hamming:
      return {1, [](double x) {
                x = std::abs(x);
                return x >= 1 ? 0.0 : sinc(x) * (0.54 + 0.46 * std::cos(std::numbers::pi * x));
              }};
    case Resample::bicubic:  // Keys (1981) with a = -1/2
      return {2, [](double x) {
                constexpr double a = -0.5;
                x = std::abs(x);
                if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
                return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
              }};
    case Resample::lanczos:
      return {3, [](double x) { return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0.0; }};
    case Resample::bilinear:
    case Resample::nearest:
      break;
  }
  return {1, [](double x) { return std::max(0.0, 1 - std::abs(x)); }};
}

// For each output pixel along one side: the first input pixel that it sees and the weights, in fixed point.
struct Taps {
  std::int64_t most = 0;  // weights kept for each output
  std::vector<std::int64_t> first, count;
  std::vector<std::int32_t> weights;
};

Taps taps_for(std::int64_t from, std::int64_t to, const Filter& filter) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double widened = std::max(scale, 1.0), support = filter.support * widened;
  Taps taps;
  taps.most = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  taps.weights.resize(static_cast<std::size_t>(to * taps.most));
  std::vector<double> weights(static_cast<std::size_t>(taps.most));
  for (std::int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    // Truncated towards 0 after half is added; at the left edge both come to 0.
    const std::int64_t first = std::max<std::int64_t>(0, static_cast<std::int64_t>(center - support + 0.5));
    const std::int64_t end = std::min(from, static_cast<std::int64_t>(center + support + 0.5));
    double sum = 0;
    for (std::int64_t j = first; j < end; ++j) {
      const double weight = filter.weight((static_cast<double>(j) - center + 0.5) * (1 / widened));
      weights[static_cast<std::size_t>(j - first)] = weight;
      sum += weight;
    }
    for (std::int64_t j = 0; j < end - first; ++j) {
      double weight = weights[static_cast<std::size_t>(j)];
      if (sum != 0) weight /= sum;
      taps.weights[static_cast<std::size_t>(i * taps.most + j)] =
          static_cast<std::int32_t>(weight * (1 << kBits) + (weight < 0 ? -0.5 : 0.5));
    }
    taps.first.push_back(first);
    taps.count.push_back(std::max<std::int64_t>(0, end - first));
  }
  return taps;
}

std::uint8_t rounded(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

Image resize_columns(const Image& image, std::int64_t width, const Filter& filter) {
  const Taps taps = taps_for(image.width, width, filter);
  Image out{image.height, width,
            std::vector<std::uint8_t>(static_cast<std::size_t>(image.height * width * 3))};
  core::parallel_ranges(image.height, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t y = begin; y < end; ++y) {
      for (std::int64_t x = 0; x < width; ++x) {
        const auto at = static_cast<std::size_t>(x);
        const std::uint8_t* in = image.pixels.data() + (y * image.width + taps.first[at]) * 3;
        const std::int32_t* weights = taps.weights.data() + x * taps.most;
        std::int32_t red = 1 << (kBits - 1), green = red, blue = red;
        for (std::int64_t j = 0; j < taps.count[at]; ++j) {
          red += in[3 * j] * weights[j];
          green += in[3 * j + 1] * weights[j];
          blue += in[3 * j + 2] * weights[j];
        }
        std::uint8_t* to = out.pixels.data() + (y * width + x) * 3;
        to[0] = rounded(red);
        to[1] = rounded(green);
        to[2] = rounded(blue);
      }
    }
  });
  return out;
}

Image resize_rows(const Image& image, std::int64_t height, const Filter& filter) {
  const Taps taps = taps_for(image.height, height, filter);
  const std::int64_t row = image.width * 3;
  Image out{height, image.width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * row))};
  core::parallel_ranges(height, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> sums(static_cast<std::size_t>(row));
    for (std::int64_t y = begin; y < end; ++y) {
      const auto at = static_cast<std::size_t>(y);
      std::fill(sums.begin(), sums.end(), 1 << (kBits - 1));
      for (std::int64_t j = 0; j < taps.count[at]; ++j) {
        const std::uint8_t* in = image.pixels.data() + (taps.first[at] + j) * row;
        const std::int32_t weight = taps.weights[static_cast<std::size_t>(y * taps.most + j)];
        for (std::int64_t i = 0; i < row; ++i) sums[static_cast<std::size_t>(i)] += in[i] * weight;
      }
      std::transform(sums.begin(), sums.end(), out.pixels.begin() + y * row, rounded);
    }
  });
  return out;
}

// The input pixel under the middle of each output pixel. Pillow adds the step up, which can round another way
// than a product.
std::vector<std::int64_t> nearest_of(std::int64_t from, std::int64_t to) {
  const double step = static_cast<double>(from) / static_cast<double>(to);
  double at = step * 0.5;
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < to; ++i, at += step)
    out.push_back(std::min(from - 1, static_cast<std::int64_t>(at)));
  return out;
}

Image resize_nearest(const Image& image, std::int64_t height, std::int64_t width) {
  const auto rows = nearest_of(image.height, height), columns = nearest_of(image.width, width);
  Image out{height, width, {}};
  out.pixels.reserve(static_cast<std::size_t>(height * width * 3));
  for (const std::int64_t y : rows) {
    for (const std::int64_t x : columns) {
      const auto in = image.pixels.begin() + (y * image.width + x) * 3;
      out.pixels.insert(out.pixels.end(), in, in + 3);
    }
  }
  return out;
}

void check_image(std::string_view operation, const Image& image, std::int64_t height, std::int64_t width) {
  const auto is_side = [](std::int64_t side) { return side >= 1 && side <= kMaxSide; };
  if (!is_side(image.height) || !is_side(image.width) ||
      image.pixels.size() != static_cast<std::size_t>(image.height * image.width * 3)) {
    fail(ErrorCode::value, operation,
         fmt::format("image is {} x {} with {} bytes; want sides of 1 to {} and 3 bytes a pixel",
                     image.height, image.width, image.pixels.size(), kMaxSide));
  }
  if (!is_side(height) || !is_side(width)) {
    fail(ErrorCode::value, operation,
         fmt::format("size is {} x {}; want sides of 1 to {}", height, width, kMaxSide));
  }
}

}  // namespace

Image resize(const Image& image, std::int64_t height, std::int64_t width, Resample resample) {
  check_image("resize", image, height, width);
  if (resample == Resample::nearest) return resize_nearest(image, height, width);
  const Filter filter = filter_of(resample);
  // Each pass rounds to 8 bits, so their order shows. Pillow 13 begins with the rows where it takes away more
  // than twice as many of them as of columns (found by 400 random sizes with each filter).
  const bool rows_first = height < image.height && image.height - height > 2 * (image.width - width);
  Image out = image;
  for (const bool rows : {rows_first, !rows_first}) {
    if (rows && out.height != height) out = resize_rows(out, height, filter);
    if (!rows && out.width != width) out = resize_columns(out, width, filter);
  }
  return out;
}

Image center_crop(const Image& image, std::int64_t height, std::int64_t width) {
  check_image("center_crop", image, height, width);
  Image out{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width * 3))};
  // Where the rest is odd, the larger part of what is cut stands right and below, of what is added left and
  // above.
  const auto before = [](std::int64_t have, std::int64_t want) {
    return have >= want ? (have - want) / 2 : -((want - have + 1) / 2);
  };
  const std::int64_t top = before(image.height, height), left = before(image.width, width);
  const std::int64_t first = std::max<std::int64_t>(0, -left), end = std::min(width, image.width - left);
  for (std::int64_t y = 0; y < height; ++y) {
    if (y + top < 0 || y + top >= image.height) continue;
    std::memcpy(out.pixels.data() + (y * width + first) * 3,
                image.pixels.data() + ((y + top) * image.width + first + left) * 3,
                static_cast<std::size_t>((end - first) * 3));
  }
  return out;
}

}  // namespace headway::inline v1::io
