#include <headway/train/translation_config.h>

#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/core/error.h>

#include "train/config_fields.h"

namespace headway::inline v1::train {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kFormatVersion = 1;

template <typename T>
Json encode(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    for (const auto& [each, name] : Names<T>::all) {
      if (each == value) return std::string(name);
    }
    return nullptr;
  } else {
    return value;
  }
}

template <typename T>
bool decode(const Json& json, T& value) {
  if constexpr (std::is_enum_v<T>) {
    if (!json.is_string()) return false;
    for (const auto& [each, name] : Names<T>::all) {
      if (name == json.get_ref<const std::string&>()) {
        value = each;
        return true;
      }
    }
    return false;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) return false;
    value = json.get<bool>();
    return true;
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!json.is_string()) return false;
    value = json.get<std::string>();
    return true;
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!json.is_number()) return false;
    value = json.get<T>();
    return true;
  } else {
    if (!json.is_number_integer() || (std::is_unsigned_v<T> && !json.is_number_unsigned())) return false;
    value = json.get<T>();
    return true;
  }
}

}  // namespace

std::string to_json(const TranslationConfig& config) {
  Json out;
  out["format_version"] = kFormatVersion;
  out["source_vocab"] = config.model.source_vocab;
  out["target_vocab"] = config.model.target_vocab;
  each_field(config, [&](const char* section, const char* key, const auto& value, const char*) {
    out[section][key] = encode(value);
  });
  return out.dump(2) + "\n";
}

TranslationConfig translation_config_from_json(std::string_view text, std::string_view what,
                                               const TranslationConfig& defaults) {
  const auto wrong = [&](const std::string& message) { fail(ErrorCode::format, what, message); };
  // The parser takes a NUL for the end of the text and would pass over what follows.
  if (text.find('\0') != std::string_view::npos) wrong("has a NUL byte");
  Json json;
  try {
    json = Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    wrong(fmt::format("not JSON: {}", error.what()));
  }
  if (!json.is_object()) wrong("top level is not an object");
  std::int64_t version = 0;
  if (!json.contains("format_version") || !decode(json["format_version"], version))
    wrong("format_version is missing");
  if (version < 1 || version > kFormatVersion) {
    wrong(fmt::format("format_version is {}; this program knows 1 to {}", version, kFormatVersion));
  }
  TranslationConfig config = defaults;
  std::set<std::string> known{"format_version", "source_vocab", "target_vocab"};
  for (auto [key, value] : {std::pair{"source_vocab", &config.model.source_vocab},
                            {"target_vocab", &config.model.target_vocab}}) {
    if (json.contains(key) && !decode(json[key], *value))
      wrong(fmt::format("{} is {}; want a number", key, json[key].dump()));
  }
  std::set<std::string> fields;
  each_field(config, [&](const char* section, const char* key, auto& value, const char* help) {
    known.insert(section);
    fields.insert(fmt::format("{}.{}", section, key));
    if (!json.contains(section) || !json[section].is_object() || !json[section].contains(key)) return;
    if (!decode(json[section][key], value)) {
      wrong(fmt::format("{}.{} is {}; want another kind of value ({})", section, key,
                        json[section][key].dump(), help));
    }
  });
  for (const auto& [section, entries] : json.items()) {
    if (!known.contains(section)) wrong(fmt::format("unknown key \"{}\"", section));
    if (!entries.is_object()) {
      if (section == "model" || section == "tokenizer" || section == "training" || section == "decoding") {
        wrong(fmt::format("{} is {}; want an object", section, entries.dump()));
      }
      continue;
    }
    for (const auto& [key, value] : entries.items()) {
      if (!fields.contains(section + "." + key)) wrong(fmt::format("unknown key \"{}.{}\"", section, key));
    }
  }
  return config;
}

}  // namespace headway::inline v1::train
