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
  if (kind_ == Kind::rope) return rope_.str();
  return fmt::format("t5({})", table_.shape().str());
}

}  // namespace headway::inline v1
