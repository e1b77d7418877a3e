#include <headway/jobs/exporter.h>

#include <array>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/core/error.h>
#include <headway/hub/model.h>
#include <headway/io/atomic_file.h>

#include "jobs/model_text.h"

namespace headway::inline v1::jobs {
namespace {

namespace fs = std::filesystem;

// Files beside the weights that say how a model is used. config.json and generation_config.json are the
// model's own.
constexpr std::array<std::string_view, 18> kSideFiles{"tokenizer.json",
                                                      "tokenizer_config.json",
                                                      "special_tokens_map.json",
                                                      "added_tokens.json",
                                                      "vocab.txt",
                                                      "vocab.json",
                                                      "merges.txt",
                                                      "spiece.model",
                                                      "sentencepiece.bpe.model",
                                                      "tokenizer.model",
                                                      "source.spm",
                                                      "target.spm",
                                                      "chat_template.jinja",
                                                      "preprocessor_config.json",
                                                      "modules.json",
                                                      "sentence_bert_config.json",
                                                      "sentence_roberta_config.json",
                                                      "config_sentence_transformers.json"};

// Folders that modules.json names: those of sentence-transformers' pooling, dense layers and normalization.
std::vector<fs::path> module_folders(const fs::path& model) {
  std::vector<fs::path> out;
  if (!fs::exists(model / "modules.json")) return out;
  const auto modules = nlohmann::json::parse(io::read_file(model / "modules.json", 1 << 24), nullptr, false);
  if (!modules.is_array()) return out;
  for (const auto& entry : modules) {
    if (!entry.is_object() || !entry.contains("path") || !entry["path"].is_string()) continue;
    const fs::path path = fs::path(entry["path"].get<std::string>()).lexically_normal();
    const bool within = !path.empty() && path != "." && path.is_relative() && *path.begin() != "..";
    if (within) out.push_back(path);
  }
  return out;
}

// Links of the Hub's cache are followed: what they point to is what belongs to the model.
void copy_side(const fs::path& model, const fs::path& name, const fs::path& to) {
  if (!fs::exists(fs::symlink_status(model / name)) || fs::exists(to / name)) return;
  std::error_code error;
  const fs::path file = fs::canonical(model / name, error);
  if (!error) fs::create_directories((to / name).parent_path(), error);
  if (!error) fs::copy(file, to / name, fs::copy_options::recursive, error);
  if (error) {
    fail(ErrorCode::io, "export",
         fmt::format("cannot copy {}: {}", (model / name).string(), error.message()));
  }
}

}  // namespace

void export_model(const std::string& spec, const std::filesystem::path& folder) {
  const hub::HubModel model = hub::HubModel::load(spec);
  io::AtomicFolder target(folder);
  const std::filesystem::path written = target.path() / "model";
  model.save(written);
  for (const auto& entry : std::filesystem::directory_iterator(written))
    std::filesystem::rename(entry.path(), target.path() / entry.path().filename());
  std::filesystem::remove(written);
  if (model.is_gguf()) {
    tokenizer_of(model.path()).save(target.path());
  } else {
    for (const std::string_view name : kSideFiles) copy_side(model.path(), name, target.path());
    for (const fs::path& name : module_folders(model.path())) copy_side(model.path(), name, target.path());
  }
  target.commit();
}

void export_gguf(const std::string& spec, const std::filesystem::path& file, io::GgufEncoding encoding) {
  if (std::filesystem::exists(file)) {
    fail(ErrorCode::io, "export", fmt::format("{} is there already; want a new file", file.string()));
  }
  const TextModel loaded = load_text_model(spec, {});
  const models::LanguageModel* model = loaded.model->language_model();
  const std::int64_t vocabulary = model ? model->vocabulary() : 0;
  loaded.model->save_gguf(file, encoding,
                          metadata_of(loaded.tokenizer.to_gguf(static_cast<std::int32_t>(vocabulary))));
}

}  // namespace headway::inline v1::jobs
