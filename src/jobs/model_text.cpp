#include "jobs/model_text.h"

#include <algorithm>
#include <numeric>

#include <headway/io/gguf.h>

namespace headway::inline v1::jobs {
namespace {

text::HubTokenizer tokenizer_of_gguf(const std::filesystem::path& path) {
  const io::GgufMetadata meta = io::open_gguf(path).metadata;
  const auto key = [](const char* name) { return std::string("tokenizer.ggml.") + name; };
  const auto token = [&](const char* name) -> std::optional<std::int32_t> {
    if (!meta.has(key(name))) return std::nullopt;
    return static_cast<std::int32_t>(meta.integer(key(name)));
  };
  const auto flag = [&](const char* name) -> std::optional<bool> {
    if (!meta.has(key(name))) return std::nullopt;
    return meta.flag(key(name));
  };
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
  v.bos = token("bos_token_id");
  v.eos = token("eos_token_id");
  v.eot = token("eot_token_id");
  v.unknown = token("unknown_token_id");
  v.separator = token("seperator_token_id");  // as ggml spells it
  v.padding = token("padding_token_id");
  v.cls = token("cls_token_id");
  v.mask = token("mask_token_id");
  v.add_bos = flag("add_bos_token");
  v.add_eos = flag("add_eos_token");
  v.add_space_prefix = flag("add_space_prefix");
  v.chat_template = meta.text("tokenizer.chat_template", "");
  return text::HubTokenizer::from_gguf(v);
}

}  // namespace

text::HubTokenizer tokenizer_of(const std::filesystem::path& path) {
  return path.extension() == ".gguf" ? tokenizer_of_gguf(path) : text::HubTokenizer::load(path);
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
