#include <headway/attention/position.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include <headway/core/error.h>

namespace headway::inline v1 {

Position Position::alibi() {
  Position out;
  out.kind_ = Kind::alibi;
  return out;
}

Position Position::alibi(std::vector<double> slopes) {
  if (slopes.empty()) fail(ErrorCode::value, "Position::alibi", "slopes are empty; want one for each head");
  Position out = alibi();
  out.slopes_ = std::move(slopes);
  return out;
}

Position Position::t5(const Tensor& table, const T5Options& options) {
  if (!table.defined() || table.rank() != 2 || table.size(0) < 1 || table.size(1) < 1) {
    fail(ErrorCode::shape, "Position::t5",
         fmt::format("table is {}; want [buckets, heads]", table.describe()));
  }
  if (table.dtype() != DType::float32 && table.dtype() != DType::float64) {
    fail(ErrorCode::dtype, "Position::t5", fmt::format("table is {}; want float32", table.describe()));
  }
  const std::int64_t buckets = table.size(0);
  const std::int64_t exact = buckets / (options.bidirectional ? 4 : 2);
  if ((options.bidirectional && buckets % 2 != 0) || exact < 1 || options.max_distance <= exact) {
    fail(ErrorCode::value, "Position::t5",
         fmt::format("{} buckets{} and max_distance {}; want {} buckets, and max_distance above {}", buckets,
                     options.bidirectional ? ", bidirectional," : "", options.max_distance,
                     options.bidirectional ? "an even number of at least 4" : "at least 2", exact));
  }
  Position out;
  out.kind_ = Kind::t5;
  out.table_ = table;
  out.t5_ = options;
  return out;
}

namespace {

void check_vectors(const char* operation, const char* argument, const Tensor& x, const char* wanted,
                   bool fits) {
  if (!x.defined() || !fits || x.numel() == 0 || !x.is_contiguous())
    fail(ErrorCode::shape, operation,
         fmt::format("{} is {}; want contiguous {}", argument, x.describe(), wanted));
  if (x.dtype() != DType::float32 && x.dtype() != DType::float64)
    fail(ErrorCode::dtype, operation, fmt::format("{} is {}; want float32", argument, x.describe()));
}

}  // namespace

Position Position::shaw(const Tensor& keys, const Tensor& values) {
  const auto check = [](const char* argument, const Tensor& x) {
    const bool fits = x.defined() && (x.rank() == 2 || x.rank() == 3) && x.size(-2) % 2 == 1;
    check_vectors("Position::shaw", argument, x,
                  "[2K + 1, dim] or [heads, 2K + 1, dim]: offsets -K to K, an odd number", fits);
  };
  check("keys", keys);
  if (values.defined()) check("values", values);
  Position out;
  out.kind_ = Kind::shaw;
  out.keys_ = keys;
  out.values_ = values;
  return out;
}

Position Position::transformer_xl(const Tensor& relative, const Tensor& content_bias,
                                  const Tensor& position_bias, std::optional<std::int64_t> least_offset) {
  const char* operation = "Position::transformer_xl";
  check_vectors(operation, "relative", relative, "[offsets, heads, dim]",
                relative.defined() && relative.rank() == 3);
  const auto check = [&](const char* argument, const Tensor& x) {
    const bool fits =
        x.defined() && x.rank() == 2 && x.size(0) == relative.size(1) && x.size(1) == relative.size(2);
    check_vectors(operation, argument, x, "[heads, dim], as relative has them", fits);
  };
  check("content_bias", content_bias);
  check("position_bias", position_bias);
  Position out;
  out.kind_ = Kind::transformer_xl;
  out.keys_ = relative;
  out.content_bias_ = content_bias;
  out.position_bias_ = position_bias;
  out.least_offset_ = least_offset.value_or(1 - relative.size(0));
  return out;
}

Position::Vectors Position::key_vectors() const {
  if (!relative()) return {};
  if (kind_ == Kind::shaw) return clipped(keys_);
  const std::int64_t heads = keys_.size(1), dim = keys_.size(2);
  return {.rows = keys_,
          .row = heads * dim,
          .head = dim,
          .least = least_offset_,
          .count = keys_.size(0),
          .width = dim};
}

Position::Vectors Position::value_vectors() const { return values_.defined() ? clipped(values_) : Vectors{}; }

// Shaw's: offsets -K … K.
Position::Vectors Position::clipped(const Tensor& rows) {
  const std::int64_t count = rows.size(-2), width = rows.size(-1), reach = count / 2;
  return {.rows = rows,
          .row = width,
          .head = rows.rank() == 3 ? count * width : 0,
          .least = -reach,
          .count = count,
          .width = width,
          .clip = reach};
}

void Position::check(std::int64_t heads, std::int64_t dim, std::int64_t value_dim) const {
  const auto fit = [&](const char* argument, const Tensor& x, int head_axis, std::int64_t width) {
    if (!x.defined()) return;
    const bool right = x.size(-1) == width && (head_axis < 0 || x.size(head_axis) == heads);
    if (right) return;
    fail(ErrorCode::shape, "attention",
         fmt::format("position {} has {} {} for {} heads of dimension {}", str(), argument, x.shape().str(),
                     heads, width));
  };
  if (kind_ == Kind::transformer_xl) return fit("relative", keys_, 1, dim);
  if (kind_ != Kind::shaw) return;
  fit("keys", keys_, keys_.rank() == 3 ? 0 : -1, dim);
  fit("values", values_, values_.defined() && values_.rank() == 3 ? 0 : -1, value_dim);
}

std::vector<double> Position::alibi_slopes(std::int64_t heads) {
  std::int64_t power = 1;
  while (power * 2 <= heads) power *= 2;
  std::vector<double> slopes;
  for (std::int64_t h = 1; h <= power; ++h)
    slopes.push_back(std::exp2(-8.0 * static_cast<double>(h) / static_cast<double>(power)));
  for (std::int64_t h = 1; static_cast<std::int64_t>(slopes.size()) < heads; h += 2)
    slopes.push_back(std::exp2(-4.0 * static_cast<double>(h) / static_cast<double>(power)));
  return slopes;
}

std::int64_t Position::t5_bucket(std::int64_t distance, std::int64_t buckets, const T5Options& options) {
  std::int64_t first = 0;
  if (options.bidirectional) {
    buckets /= 2;
    if (distance < 0) first = buckets;  // keys after the query
    distance = std::abs(distance);
  } else {
    distance = std::max<std::int64_t>(distance, 0);
  }
  const std::int64_t exact = buckets / 2;
  if (distance < exact) return first + distance;
  const double share = std::log(static_cast<double>(distance) / static_cast<double>(exact)) /
                       std::log(static_cast<double>(options.max_distance) / static_cast<double>(exact));
  const auto beyond = static_cast<std::int64_t>(share * static_cast<double>(buckets - exact));
  return first + std::min(exact + beyond, buckets - 1);
}

void Position::check_heads(std::int64_t heads) const {
  const std::int64_t made_for =
      kind_ == Kind::t5 ? table_.size(1) : static_cast<std::int64_t>(slopes_.size());
  if (made_for == heads || made_for == 0) return;
  fail(ErrorCode::shape, "attention",
       fmt::format("position {} is for {} heads, query has {}; want equal", str(), made_for, heads));
}

std::vector<double> Position::biases(std::int64_t heads, std::int64_t least, std::int64_t count) const {
  check_heads(heads);
  std::vector<double> out(static_cast<std::size_t>(heads * count));
  const std::vector<double> slopes = slopes_.empty() ? alibi_slopes(heads) : slopes_;
  for (std::int64_t d = 0; d < count; ++d) {
    const std::int64_t row = kind_ == Kind::t5 ? bucket(least + d) : 0;
    for (std::int64_t h = 0; h < heads; ++h) {
      double& bias = out[static_cast<std::size_t>(h * count + d)];
      if (kind_ == Kind::alibi) {
        bias = -slopes[static_cast<std::size_t>(h)] * static_cast<double>(std::abs(least + d));
      } else if (kind_ == Kind::t5) {
        const std::int64_t at = row * table_.stride(0) + h * table_.stride(1);
        bias = table_.dtype() == DType::float64 ? table_.data<double>()[at]
                                                : static_cast<double>(table_.data<float>()[at]);
      }
    }
  }
  return out;
}

std::vector<double> Position::table_gradient(const std::vector<double>& d_biases, std::int64_t heads,
                                             std::int64_t least, std::int64_t count) const {
  std::vector<double> out(static_cast<std::size_t>(table_.numel()));
  for (std::int64_t d = 0; d < count; ++d) {
    const std::int64_t row = bucket(least + d);
    for (std::int64_t h = 0; h < heads; ++h)
      out[static_cast<std::size_t>(row * heads + h)] += d_biases[static_cast<std::size_t>(h * count + d)];
  }
  return out;
}

std::string Position::str() const {
  if (kind_ == Kind::none) return "none";
  if (kind_ == Kind::alibi) return "alibi";
  if (kind_ == Kind::transformer_xl) return fmt::format("transformer_xl({})", keys_.shape().str());
  if (kind_ == Kind::shaw) {
    return values_.defined() ? fmt::format("shaw({}, {})", keys_.shape().str(), values_.shape().str())
                             : fmt::format("shaw({})", keys_.shape().str());
  }
  if (kind_ == Kind::rope) return rope_.str();
  return fmt::format("t5({})", table_.shape().str());
}

}  // namespace headway::inline v1
