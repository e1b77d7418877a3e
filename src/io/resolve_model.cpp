#include <cstdlib>
#include <optional>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>
#include <headway/io/atomic_file.h>
#include <headway/io/model_files.h>

namespace headway::inline v1::io {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(std::string_view spec, std::string_view message, ErrorCode code = ErrorCode::io) {
  fail(code, "resolve_model", fmt::format("\"{}\" {}", printable(spec), message));
}

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it meanwhile
  if (!value || !*value) return std::nullopt;
  return value;
}

fs::path cache_folder(std::string_view spec) {
  if (const auto cache = variable("HF_HUB_CACHE")) return *cache;
  if (const auto home = variable("HF_HOME")) return fs::path(*home) / "hub";
  if (const auto cache = variable("XDG_CACHE_HOME")) return fs::path(*cache) / "huggingface/hub";
  if (const auto home = variable("HOME")) return fs::path(*home) / ".cache/huggingface/hub";
  refuse(
      spec,
      "is looked up in the cache of the Hub, but none of HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME is set");
}

struct HubId {
  std::string owner, name, revision = "main";
};

// The Hub's own rule: letters, digits, '-', '_', '.', and neither "--" nor ".." in a part.
bool is_part(std::string_view part) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  if (part.empty() || part.size() > 96 || part.front() == '.' || part.front() == '-') return false;
  if (part.find("--") != std::string_view::npos || part.find("..") != std::string_view::npos) return false;
  for (const char c : part) {
    if (!allowed(c)) return false;
  }
  return true;
}

// Branches may hold slashes, as "refs/pr/1" does.
bool is_revision(std::string_view revision) {
  while (!revision.empty()) {
    const std::size_t slash = revision.find('/');
    if (!is_part(revision.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    revision.remove_prefix(slash + 1);
  }
  return false;
}

std::optional<HubId> parse_id(std::string_view spec) {
  HubId id;
  if (const std::size_t at = spec.find('@'); at != std::string_view::npos) {
    id.revision = spec.substr(at + 1);
    spec = spec.substr(0, at);
  }
  const std::size_t slash = spec.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  id.owner = spec.substr(0, slash);
  id.name = spec.substr(slash + 1);
  if (!is_part(id.owner) || !is_part(id.name) || !is_revision(id.revision)) return std::nullopt;
  return id;
}

fs::path in_cache(const std::string& spec, const HubId& id) {
  const fs::path cache = cache_folder(spec);
  const fs::path folder = cache / fmt::format("models--{}--{}", id.owner, id.name);
  const std::string command = fmt::format("hf download {}/{}{}", id.owner, id.name,
                                          id.revision == "main" ? "" : " --revision " + id.revision);
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    if (error && error != std::errc::no_such_file_or_directory)
      refuse(spec, fmt::format("cannot be read in {}: {}", cache.string(), error.message()));
    refuse(spec, fmt::format("is neither a path nor a model in {}; want a path, or first: {}", cache.string(),
                             command));
  }
  // A revision is a name, whose file holds the commit, or the commit itself.
  std::string commit = id.revision;
  const fs::path reference = folder / "refs" / id.revision;
  if (fs::is_regular_file(reference, error)) {
    commit = read_file(reference, 4096);
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
    if (!is_part(commit)) {
      refuse(spec, fmt::format("has no commit in {}", reference.string()), ErrorCode::format);
    }
  }
  const fs::path snapshot = folder / "snapshots" / commit;
  if (!fs::is_directory(snapshot, error)) {
    refuse(spec, fmt::format("has no snapshot \"{}\" in {}; want: {}", printable(commit), folder.string(),
                             command));
  }
  return snapshot;
}

fs::path checked_file(const std::string& spec, const fs::path& path) {
  if (path.extension() == ".gguf") return path;
  if (path.extension() == ".safetensors") {
    return path.has_parent_path() ? path.parent_path() : fs::path(".");
  }
  refuse(spec, "is a file of another kind; want a folder, a .gguf or a .safetensors file, or ORG/NAME",
         ErrorCode::unsupported);
}

}  // namespace

fs::path resolve_model(const std::string& spec) {
  if (spec.empty() || spec.find('\0') != std::string::npos) {
    refuse(spec, "names no model; want a folder, a file, or ORG/NAME", ErrorCode::value);
  }
  const fs::path path(spec);
  std::error_code error;
  const fs::file_status status = fs::status(path, error);  // follows links
  if (fs::is_directory(status)) {
    fs::directory_iterator(path, error);
    if (error) refuse(spec, fmt::format("cannot be read: {}", error.message()));
    return path;
  }
  if (fs::is_regular_file(status)) return checked_file(spec, path);
  if (fs::exists(status)) refuse(spec, "is neither a folder nor a file");
  std::error_code ignored;
  if (fs::is_symlink(fs::symlink_status(path, ignored))) {
    refuse(spec, fmt::format("is a link that leads nowhere{}", error ? ": " + error.message() : ""));
  }
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory) {
    refuse(spec, fmt::format("cannot be read: {}", error.message()));
  }
  if (const auto id = parse_id(spec)) return in_cache(spec, *id);
  refuse(spec, "does not exist; want a folder, a .gguf or .safetensors file, or ORG/NAME of the Hub");
}

}  // namespace headway::inline v1::io
