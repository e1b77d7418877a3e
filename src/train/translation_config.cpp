#include <headway/train/translation_config.h>

#include <map>
#include <string>
#include <type_traits>

#include <fmt/format.h>

#include <headway/core/quote.h>

#include "io/json.h"
#include "train/config_fields.h"

namespace headway::inline v1::train {
namespace {

constexpr int kFormatVersion = 1;

template <typename T>
io::OrderedJson encode(const T& value) {
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
T read(io::Fields& fields, const char* key, const T& fallback) {
  if constexpr (std::is_enum_v<T>) {
    if (!fields.has(key)) return fallback;
    const auto name = fields.get<std::string>(key);
    std::string names;
    for (const auto& [each, known] : Names<T>::all) {
      if (known == name) return each;
      names += fmt::format("{}{}", names.empty() ? "" : ", ", known);
    }
    fields.refuse(fmt::format("has {} for \"{}\"; want one of {}", quoted(name), key, names));
  } else {
    return fields.get<T>(key, fallback);
  }
}

}  // namespace

std::string to_json(const TranslationConfig& config) {
  io::OrderedJson out;
  out["format_version"] = kFormatVersion;
  out["source_vocab"] = config.model.source_vocab;
  out["target_vocab"] = config.model.target_vocab;
  each_field(config, [&](const char* section, const char* key, const auto& value, const char*) {
    out[section][key] = encode(value);
  });
  return io::dump_json(out) + "\n";
}

TranslationConfig translation_config_from_json(std::string_view text, std::string_view what,
                                               const TranslationConfig& defaults) {
  const io::Json json = io::parse_json(text, what);
  io::Fields top(json, std::string(what));
  top.version(kFormatVersion);
  TranslationConfig config = defaults;
  config.model.source_vocab = top.get("source_vocab", config.model.source_vocab);
  config.model.target_vocab = top.get("target_vocab", config.model.target_vocab);
  std::map<std::string, io::Fields> sections;
  each_field(config, [&](const char* name, const char* key, auto& value, const char*) {
    if (!top.has(name)) return;
    auto& section =
        sections.try_emplace(name, top.child(name), fmt::format("{}: {}", what, name)).first->second;
    value = read(section, key, value);
  });
  for (const auto& [name, section] : sections) section.finish();
  top.finish();
  return config;
}

}  // namespace headway::inline v1::train
