#include "jobs/model_text.h"

#include <algorithm>
#include <numeric>

#include <headway/io/gguf.h>
#include <headway/io/model_files.h>
#include <headway/jobs/tokenizer.h>

namespace headway::inline v1::jobs {
namespace {

std::string key(const char* name) { return std::string("tokenizer.ggml.") + name; }
constexpr const char* kChatTemplate = "tokenizer.chat_template";

// What stands in a file, and where in a vocabulary.
using Token = std::optional<std::int32_t> text::GgufVocabulary::*;
constexpr std::pair<const char*, Token> kTokens[] = {
    {"bos_token_id", &text::GgufVocabulary::bos},
    {"eos_token_id", &text::GgufVocabulary::eos},
    {"eot_token_id", &text::GgufVocabulary::eot},
    {"unknown_token_id", &text::GgufVocabulary::unknown},
    {"seperator_token_id", &text::GgufVocabulary::separator},  // as ggml spells it
    {"padding_token_id", &text::GgufVocabulary::padding},
    {"cls_token_id", &text::GgufVocabulary::cls},
    {"mask_token_id", &text::GgufVocabulary::mask}};
using Flag = std::optional<bool> text::GgufVocabulary::*;
constexpr std::pair<const char*, Flag> kFlags[] = {
    {"add_bos_token", &text::GgufVocabulary::add_bos},
    {"add_eos_token", &text::GgufVocabulary::add_eos},
    {"add_space_prefix", &text::GgufVocabulary::add_space_prefix}};

text::HubTokenizer tokenizer_of_gguf(const std::filesystem::path& path) {
  const io::GgufMetadata meta = io::open_gguf(path).metadata;
  text::GgufVocabulary v;
  v.model = meta.text(key("model"));
  v.pre = meta.text(key("pre"), "default");
  v.tokens = meta.texts(key("tokens"));
  if (meta.has(key("scores"))) {
    for (const double score : meta.numbers(key("scores"))) v.scores.push_back(static_cast<float>(score));
  }
  if (meta.has(key("token_type"))) {
    for (const std::int64_t type : meta.integers(key("token_type")))
      v.types.push_back(static_cast<std::int32_t>(type));
  }
  if (meta.has(key("merges"))) v.merges = meta.texts(key("merges"));
  for (const auto& [name, member] : kTokens) {
    if (meta.has(key(name))) v.*member = static_cast<std::int32_t>(meta.integer(key(name)));
  }
  for (const auto& [name, member] : kFlags) {
    if (meta.has(key(name))) v.*member = meta.flag(key(name));
  }
  v.chat_template = meta.text(kChatTemplate, "");
  return text::HubTokenizer::from_gguf(v);
}

}  // namespace

text::HubTokenizer tokenizer_of(const std::filesystem::path& path) {
  return path.extension() == ".gguf" ? tokenizer_of_gguf(path) : text::HubTokenizer::load(path);
}

io::GgufMetadata metadata_of(const text::GgufVocabulary& v) {
  io::GgufMetadata meta;
  meta.values[key("model")] = v.model;
  meta.values[key("pre")] = v.pre;
  meta.values[key("tokens")] = io::GgufArray{v.tokens};
  if (!v.scores.empty()) meta.values[key("scores")] = io::GgufArray{v.scores};
  if (!v.types.empty()) meta.values[key("token_type")] = io::GgufArray{v.types};
  if (!v.merges.empty()) meta.values[key("merges")] = io::GgufArray{v.merges};
  for (const auto& [name, member] : kTokens) {
    if (v.*member) meta.values[key(name)] = static_cast<std::uint32_t>(*(v.*member));
  }
  for (const auto& [name, member] : kFlags) {
    if (v.*member) meta.values[key(name)] = *(v.*member);
  }
  if (!v.chat_template.empty()) meta.values[kChatTemplate] = v.chat_template;
  return meta;
}

text::HubTokenizer load_tokenizer(const std::string& spec) {
  const std::filesystem::path path(spec);
  const bool is_file = std::filesystem::is_regular_file(path) && path.extension() != ".safetensors";
  return tokenizer_of(is_file ? path : io::resolve_model(spec));
}

TextModel load_text_model(const std::string& spec, const hub::LoadOptions& options) {
  return text_model(std::make_shared<const hub::HubModel>(hub::HubModel::load(spec, options)));
}

TextModel text_model(std::shared_ptr<const hub::HubModel> model) {
  text::HubTokenizer tokenizer = tokenizer_of(model->path());
  return {std::move(model), std::move(tokenizer)};
}

std::vector<std::vector<std::size_t>> batches_of(const std::vector<std::size_t>& lengths,
                                                 std::size_t tokens) {
  std::vector<std::size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });
  std::vector<std::vector<std::size_t>> out;
  std::size_t sum = 0;
  for (const std::size_t i : order) {
    if (out.empty() || sum + lengths[i] > tokens) {
      out.emplace_back();
      sum = 0;
    }
    out.back().push_back(i);
    sum += lengths[i];
  }
  return out;
}

}  // namespace headway::inline v1::jobs
