#pragma once
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <headway/attention/position.h>
#include <headway/nn/feed_forward.h>
#include <headway/nn/task_head.h>

namespace headway::inline v1::hub {

/// Reads the fields of a config.json, and keeps count of those that nobody has read. Every complaint names
/// the field, what it is and what would do.
class Config {
 public:
  /// Error(format) beginning with `what` for text that is no JSON object.
  Config(std::string_view text, std::string what);

  /// Present and not null.
  bool has(const std::string& field) const;
  std::int64_t integer(const std::string& field, std::optional<std::int64_t> otherwise = {});
  double number(const std::string& field, std::optional<double> otherwise = {});
  bool boolean(const std::string& field, std::optional<bool> otherwise = {});
  std::string text(const std::string& field, std::optional<std::string> otherwise = {});
  std::vector<std::int64_t> integers(const std::string& field);
  std::vector<std::string> texts(const std::string& field);
  /// The name of the first of `fields` that is there; the first itself when none is.
  std::string first_of(std::initializer_list<const char*> fields) const;
  const nlohmann::json& document() const { return json_; }
  const nlohmann::json& at(const std::string& field);

  /// Error(unsupported) naming the field unless it is absent, null, or one of `values`.
  void only(const std::string& field, std::initializer_list<nlohmann::json> values);
  /// Fields that change nothing in evaluation.
  void ignore(std::initializer_list<const char*> fields);
  [[noreturn]] void refuse(const std::string& field, std::string_view wanted) const;
  /// Fields that were neither read nor known to change nothing.
  std::vector<std::string> unread() const;

  /// The kind of feed-forward network with this activation; `gated` for the variants with a gate.
  nn::FeedForwardKind feed_forward(const std::string& field, bool gated, const std::string& otherwise);
  nn::FeedForwardKind feed_forward_named(const std::string& field, const std::string& name, bool gated);
  nn::HeadActivation head_activation(const std::string& field, const std::string& otherwise);
  /// How many classes the head of `architectures` has (id2label, num_labels).
  std::int64_t labels();
  /// "BertForMaskedLM", or empty.
  std::string architecture();
  /// Wavelengths of rotary positions are multiplied by these numbers, where there are any (GGUF).
  std::vector<double> rope_factors;
  /// Rotary positions of heads of `dims`; with `kind` those of that layer type ("sliding_attention").
  RopeOptions rope(std::int64_t dims, double base, const std::string& kind = {});

 private:
  const nlohmann::json* find(const std::string& field);
  template <typename T>
  T read(const std::string& field, const std::optional<T>& otherwise,
         bool (nlohmann::json::*is)() const noexcept, const char* wanted);
  RopeOptions unscaled_rope(std::int64_t dims, double base) const;
  RopeOptions scaled_rope(const nlohmann::json& fields, std::int64_t dims, double base,
                          const std::string& where);
  nlohmann::json json_;
  std::string what_;
  std::set<std::string> read_;
};

}  // namespace headway::inline v1::hub
