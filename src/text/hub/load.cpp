#include <fmt/format.h>

#include <array>
#include <utility>

#include <headway/core/error.h>

#include "text/file.h"
#include "text/hub/converters.h"
#include "text/hub/tokenizer_impl.h"

namespace headway::inline v1::text {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kOperation = "HubTokenizer::load";

// The files of a folder, each read once and kept for save().
class Folder {
 public:
  explicit Folder(fs::path folder) : folder_(std::move(folder)) {}

  bool has(std::string_view name) const { return fs::is_regular_file(folder_ / name); }
  const std::string& read(std::string_view name) {
    for (const hub::File& file : files_) {
      if (file.name == name) return file.bytes;
    }
    files_.push_back({std::string(name), read_file(folder_ / name, kOperation)});
    return files_.back().bytes;
  }
  hub::Json json(std::string_view name) {
    return has(name) ? hub::parse_json(read(name), where(name)) : hub::Json();
  }
  std::string where(std::string_view name) const { return (folder_ / name).string(); }
  std::vector<hub::File> take() { return {files_.begin(), files_.end()}; }

 private:
  fs::path folder_;
  std::deque<hub::File> files_;
};

hub::SpmFamily family_of(const hub::Config& config, const hub::Json& model, std::string_view file,
                         const hub::SpmModel& spm) {
  std::string name;
  if (config.tokenizer_config.is_object()) name = config.tokenizer_config.value("tokenizer_class", "");
  if (name.empty() && model.is_object()) name = model.value("model_type", "");
  const auto is = [&](std::string_view part) { return name.find(part) != std::string::npos; };
  if (is("T5") || name == "t5" || name == "mt5" || name == "umt5") return hub::SpmFamily::t5;
  if (is("Albert") || name == "albert") return hub::SpmFamily::albert;
  if (is("XLMRoberta") || name == "xlm-roberta") return hub::SpmFamily::xlm_roberta;
  if (is("Llama") || is("llama") || is("istral") || is("emma")) return hub::SpmFamily::llama;
  if (!name.empty()) {
    fail(ErrorCode::unsupported, kOperation,
         fmt::format("{} is used by '{}', whose ids are not known; want T5, ALBERT, XLM-R, Llama or Marian, "
                     "or a tokenizer.json",
                     file, name));
  }
  if (file == "sentencepiece.bpe.model") return hub::SpmFamily::xlm_roberta;
  if (spm.kind == hub::SpmModel::Kind::bpe) return hub::SpmFamily::llama;
  for (const hub::SpmPiece& piece : spm.pieces) {
    if (piece.piece == "[CLS]") return hub::SpmFamily::albert;
  }
  return hub::SpmFamily::t5;
}

// Tokens of added_tokens.json, and those of tokenizer_config.json, that the tokenizer file does not list
// itself.
void add_tokens(hub::Json& tokenizer, const hub::Config& config, const std::string& where) {
  hub::Json& added = tokenizer["added_tokens"];
  const auto add = [&](std::int64_t id, const std::string& content, bool special, const hub::Json* flags) {
    for (const hub::Json& other : added) {
      if (other["content"] == content) return;
    }
    hub::Json entry = hub::added_token(id, content, special);
    for (const char* name : {"single_word", "lstrip", "rstrip", "normalized"}) {
      if (flags != nullptr && flags->contains(name) && (*flags)[name].is_boolean())
        entry[name] = (*flags)[name];
    }
    added.push_back(std::move(entry));
  };
  if (config.tokenizer_config.is_object() && config.tokenizer_config.contains("added_tokens_decoder")) {
    const hub::Json& decoder = config.tokenizer_config["added_tokens_decoder"];
    if (!decoder.is_object()) hub::fail_format(where, "added_tokens_decoder is no object");
    for (const auto& [id, entry] : decoder.items()) {
      if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != std::string::npos ||
          !entry.is_object() || !entry.contains("content")) {
        hub::fail_format(where,
                         fmt::format("added_tokens_decoder has an entry '{}'; want ids and tokens", id));
      }
      const bool special = entry.contains("special") && entry["special"] == true;
      add(std::stol(id), hub::string_of(entry["content"], where), special, &entry);
    }
  }
  if (config.added_tokens.is_object()) {
    for (const auto& [content, id] : config.added_tokens.items())
      add(hub::integer_of(id, where), content, false, nullptr);
  }
}

hub::Json tokenizer_of(Folder& folder, const hub::Config& config, const std::string& only) {
  const auto wanted = [&](std::string_view name) {
    return (only.empty() || only == name) && folder.has(name);
  };
  hub::Json made;
  std::string where;
  if (wanted("tokenizer.json"))
    return hub::parse_json(folder.read("tokenizer.json"), folder.where("tokenizer.json"));
  if (wanted("vocab.txt")) {
    where = folder.where("vocab.txt");
    made = hub::from_vocab_txt(folder.read("vocab.txt"), config, where);
  } else if ((only.empty() || only == "vocab.json" || only == "merges.txt") && folder.has("vocab.json") &&
             folder.has("merges.txt")) {
    where = folder.where("vocab.json");
    made = hub::from_bpe_files(folder.read("vocab.json"), folder.read("merges.txt"), config, where);
  } else if (wanted("source.spm") && folder.has("vocab.json")) {
    where = folder.where("source.spm");
    if (folder.has("target.spm")) folder.read("target.spm");
    return hub::from_marian(hub::read_spm(folder.read("source.spm"), where), folder.read("vocab.json"),
                            where);
  } else {
    for (const std::string_view name : {"spiece.model", "sentencepiece.bpe.model", "tokenizer.model"}) {
      if (!wanted(name)) continue;
      where = folder.where(name);
      const hub::SpmModel spm = hub::read_spm(folder.read(name), where);
      const hub::Json model = folder.json("config.json");
      made = hub::from_spm(spm, family_of(config, model, name, spm), config, where);
      break;
    }
  }
  if (!where.empty()) add_tokens(made, config, where);
  return made;
}

}  // namespace

HubTokenizer HubTokenizer::load(const fs::path& path) {
  std::error_code code;
  const bool is_folder = fs::is_directory(path, code);
  if (!is_folder && !fs::is_regular_file(path, code)) {
    fail(ErrorCode::io, kOperation, fmt::format("there is no file or folder {}", path.string()));
  }
  Folder folder(is_folder ? path : path.parent_path());
  hub::Config config{folder.json("tokenizer_config.json"), folder.json("special_tokens_map.json"),
                     folder.json("added_tokens.json"), ""};
  if (folder.has("chat_template.jinja")) config.chat_template = folder.read("chat_template.jinja");
  const std::string only = is_folder ? "" : path.filename().string();
  hub::Json json;
  if (!only.empty() && only.ends_with(".json") && only != "vocab.json") {
    json = hub::parse_json(folder.read(only), path.string());
  } else {
    json = tokenizer_of(folder, config, only);
  }
  if (json.is_null()) {
    fail(ErrorCode::io, kOperation,
         fmt::format("{} holds no tokenizer; want tokenizer.json, vocab.txt, vocab.json with merges.txt, or "
                     "a SentencePiece model",
                     path.string()));
  }
  auto impl = hub::assemble(json, path.string());
  hub::configure(*impl, config);
  impl->files = folder.take();
  return HubTokenizer(std::move(impl));
}

}  // namespace headway::inline v1::text
