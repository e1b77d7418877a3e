#pragma once
#include <filesystem>
#include <string>
#include <vector>

// Debian packages as data: downloaded and unpacked below a cache folder, never installed (slim images leave
// out the documentation that an installation would bring).
namespace headway::cli {

/// Runs a program (no shell) in `folder`; its standard output, or Error(io) with the last line of its
/// messages.
std::string run_program(const std::vector<std::string>& command, const std::filesystem::path& folder);

struct Package {
  std::string name;
  std::string version;
  std::filesystem::path root;  ///< the unpacked tree
};

/// $XDG_CACHE_HOME/headway, ~/.cache/headway, or a folder below /tmp.
std::filesystem::path default_cache();

/// The package by name: from the cache, else by `apt-get download`.
Package fetch_package(const std::string& name, const std::filesystem::path& cache);
/// The package in a .deb file.
Package open_package(const std::filesystem::path& deb, const std::filesystem::path& cache);

}  // namespace headway::cli
