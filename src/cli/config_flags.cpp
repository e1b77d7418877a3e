#include "cli/config_flags.h"

#include <charconv>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>
#include <headway/io/atomic_file.h>

#include "train/config_fields.h"

namespace headway::cli {
namespace {

std::string flag_of(const char* key) {
  std::string flag = std::string("--") + key;
  for (char& c : flag) c = c == '_' ? '-' : c;
  return flag;
}

template <typename T>
std::string show(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    for (const auto& [each, name] : train::Names<T>::all) {
      if (each == value) return std::string(name);
    }
    return "?";
  } else {
    return fmt::format("{}", value);
  }
}

template <typename T>
bool parse(const std::string& text, T& value) {
  if constexpr (std::is_enum_v<T>) {
    for (const auto& [each, name] : train::Names<T>::all) {
      if (name == text) {
        value = each;
        return true;
      }
    }
    return false;
  } else if constexpr (std::is_same_v<T, std::string>) {
    value = text;
    return true;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (text != "true" && text != "false") return false;
    value = text == "true";
    return true;
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
  }
}

}  // namespace

ConfigFlags::ConfigFlags(CLI::App& command) {
  command.add_option("--config", file_, "JSON file with any of the fields below; flags win over it")
      ->check(CLI::ExistingFile);
  const train::TranslationConfig defaults;
  train::each_field(defaults, [&](const char* section, const char* key, const auto& value, const char* help) {
    command
        .add_option_function<std::string>(
            flag_of(key), [this, key](const std::string& text) { given_[key] = text; },
            fmt::format("{} [{}]", help, show(value)))
        ->type_name("")
        ->group(section);
  });
}

train::TranslationConfig ConfigFlags::config() const {
  train::TranslationConfig config;
  if (!file_.empty()) config = train::translation_config_from_json(io::read_file(file_), file_);
  train::each_field(config, [&](const char*, const char* key, auto& value, const char* help) {
    const auto it = given_.find(key);
    if (it == given_.end() || parse(it->second, value)) return;
    fail(ErrorCode::value, flag_of(key), fmt::format("is {}; want {}", quoted(it->second), help));
  });
  return config;
}

}  // namespace headway::cli
