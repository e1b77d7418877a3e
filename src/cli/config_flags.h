#pragma once
#include <map>
#include <string>

#include <CLI/CLI.hpp>

#include <headway/train/translation_config.h>

namespace headway::cli {

/// One flag for every field of a configuration, and --config for a JSON file below them.
class ConfigFlags {
 public:
  explicit ConfigFlags(CLI::App& command);
  /// Defaults, then the file, then the flags.
  train::TranslationConfig config() const;

 private:
  std::string file_;
  std::map<std::string, std::string> given_;  // by key
};

}  // namespace headway::cli
