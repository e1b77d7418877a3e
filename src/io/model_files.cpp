#include <headway/io/model_files.h>

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include <headway/core/quote.h>
#include <headway/io/atomic_file.h>

#include "io/json.h"
#include "io/safetensors_write.h"

namespace headway::inline v1::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

[[noreturn]] void refuse(const fs::path& path, std::string_view message, ErrorCode code = ErrorCode::format) {
  fail(code, "open_model", fmt::format("{}: {}", path.string(), message));
}

bool is_file(const fs::path& path) {
  std::error_code error;
  const bool is = fs::is_regular_file(path, error);
  if (error && error != std::errc::no_such_file_or_directory) refuse(path, error.message(), ErrorCode::io);
  return is;
}

// A shard is a plain name beside its index: no folder, no "..", nothing absolute.
bool stays_in_its_folder(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

StoredTensors open_shards(const fs::path& folder) {
  const fs::path path = folder / kIndex;
  const Json index = read_json(path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    refuse(path, "has no object \"weight_map\"");
  }
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    if (!shard.is_string()) refuse(path, fmt::format("has no file name for tensor \"{}\"", printable(name)));
    const auto& file = shard.get_ref<const std::string&>();
    if (!stays_in_its_folder(file)) {
      refuse(path, fmt::format("puts tensor \"{}\" into \"{}\"; want a file beside the index",
                               printable(name), printable(file)));
    }
    shards[file].insert(name);
  }
  if (shards.empty()) refuse(path, "lists no tensor");
  StoredTensors result;
  for (auto& [file, listed] : shards) {
    if (!is_file(folder / file))
      refuse(path, fmt::format("lists the shard \"{}\", which is not there", printable(file)));
    StoredTensors shard = open_safetensors(folder / file);
    for (StoredTensor& tensor : shard.tensors) {
      if (listed.erase(tensor.name) == 0) {
        refuse(path, fmt::format("does not put tensor \"{}\" into {}, which has it", printable(tensor.name),
                                 printable(file)));
      }
      result.tensors.push_back(std::move(tensor));
    }
    if (!listed.empty()) {
      refuse(path, fmt::format("lists tensor \"{}\" in {}, which lacks it", printable(*listed.begin()),
                               printable(file)));
    }
    result.metadata.merge(shard.metadata);
  }
  result.make_index();
  return result;
}

std::uint64_t stored_size(const OutputTensor& entry) {
  return entry.tensor.defined() ? static_cast<std::uint64_t>(entry.tensor.numel()) * size_of(entry.dtype) : 0;
}

using Shard = std::vector<const OutputTensor*>;

// In the order given; a tensor over the limit does not end the shard that is being filled.
std::vector<Shard> cut(const std::vector<OutputTensor>& tensors, std::uint64_t limit) {
  std::vector<Shard> shards;
  Shard open;
  std::uint64_t size = 0;
  for (const OutputTensor& entry : tensors) {
    const std::uint64_t bytes = stored_size(entry);
    if (bytes > limit) {
      shards.push_back({&entry});
      continue;
    }
    if (size + bytes > limit) {
      shards.push_back(std::move(open));
      open.clear();
      size = 0;
    }
    open.push_back(&entry);
    size += bytes;
  }
  if (!open.empty()) shards.push_back(std::move(open));
  return shards;
}

}  // namespace

StoredTensors open_model_files(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    refuse(folder, error ? error.message() : "is not a folder", ErrorCode::io);
  }
  if (is_file(folder / kSingle)) return open_safetensors(folder / kSingle);
  if (is_file(folder / kIndex)) return open_shards(folder);
  if (is_file(folder / "pytorch_model.bin") || is_file(folder / "pytorch_model.bin.index.json")) {
    // A pickle is a program; reading it runs it.
    refuse(folder,
           fmt::format("has its weights as a pickle, which is not read. In Python, this converts them:\n"
                       "from transformers import AutoModel\n"
                       "AutoModel.from_pretrained(\"{0}\").save_pretrained(\"{0}\", safe_serialization=True)",
                       folder.string()),
           ErrorCode::unsupported);
  }
  refuse(folder, fmt::format("has neither {} nor {}", kSingle, kIndex), ErrorCode::io);
}

void save_model_files(const fs::path& folder, const std::vector<OutputTensor>& tensors,
                      const ModelFilesOptions& options) {
  const auto refuse_save = [](std::string_view message) { fail(ErrorCode::value, "save_model", message); };
  if (options.shard_bytes == 0) refuse_save("shard_bytes is 0; want at least 1");
  std::set<std::string_view> names;
  for (const OutputTensor& entry : tensors) {
    if (!names.insert(entry.name).second) {
      refuse_save(fmt::format("the name \"{}\" is given twice", printable(entry.name)));
    }
  }
  const std::vector<Shard> shards = cut(tensors, options.shard_bytes);
  if (shards.size() <= 1) {
    return write_safetensors(folder / kSingle, shards.empty() ? Shard{} : shards.front(), options.metadata,
                             "save_model");
  }
  Json weight_map = Json::object();
  std::uint64_t total = 0;
  std::int64_t parameters = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(folder / file, shards[i], options.metadata, "save_model");
    for (const OutputTensor* entry : shards[i]) {
      weight_map[entry->name] = file;
      total += stored_size(*entry);
      parameters += entry->tensor.numel();
    }
  }
  const Json index = {{"metadata", {{"total_parameters", parameters}, {"total_size", total}}},
                      {"weight_map", std::move(weight_map)}};
  write_file(folder / kIndex, dump_json(index) + "\n");
}

}  // namespace headway::inline v1::io
