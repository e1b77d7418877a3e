#include <headway/jobs/exporter.h>

#include <array>
#include <string_view>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/hub/model.h>
#include <headway/io/atomic_file.h>

#include "jobs/model_text.h"

namespace headway::inline v1::jobs {
namespace {

// Files beside the weights that say how a model is used. config.json and generation_config.json are the
// model's own.
constexpr std::array<std::string_view, 22> kSideFiles{"tokenizer.json",
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
                                                      "config_sentence_transformers.json",
                                                      "1_Pooling",
                                                      "2_Dense",
                                                      "2_Normalize",
                                                      "3_Dense",
                                                      "3_Normalize"};

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
    for (const std::string_view name : kSideFiles) {
      const std::filesystem::path file = model.path() / name;
      if (!std::filesystem::exists(file)) continue;
      // Links of the Hub's cache are followed: what they point to is what belongs to the model.
      std::filesystem::copy(std::filesystem::canonical(file), target.path() / name,
                            std::filesystem::copy_options::recursive);
    }
  }
  target.commit();
}

void export_gguf(const std::string& spec, const std::filesystem::path& file, io::GgufEncoding encoding) {
  if (std::filesystem::exists(file)) {
    fail(ErrorCode::io, "export", fmt::format("{} is there already; want a new file", file.string()));
  }
  const TextModel loaded = load_text_model(spec, {});
  const models::LanguageModel* model = loaded.model.language_model();
  const std::int64_t vocabulary = model ? model->vocabulary() : 0;
  loaded.model.save_gguf(file, encoding,
                         metadata_of(loaded.tokenizer.to_gguf(static_cast<std::int32_t>(vocabulary))));
}

}  // namespace headway::inline v1::jobs
