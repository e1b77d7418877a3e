#include <headway/jobs/embedder.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/autograd/tape.h>
#include <headway/core/factory.h>
#include <headway/core/parallel.h>
#include <headway/core/quote.h>
#include <headway/io/atomic_file.h>
#include <headway/io/model_files.h>
#include <headway/models/t5.h>
#include <headway/nn/task_head.h>
#include <headway/ops/linear.h>
#include <headway/ops/views.h>

#include "jobs/model_text.h"
#include "text/utf8.h"

namespace headway::inline v1::jobs {
namespace {

using nlohmann::json;

struct DenseLayer {
  Tensor weight, bias;
  nn::HeadActivation activation = nn::HeadActivation::none;
};

// What sentence-transformers puts behind the encoder.
struct Modules {
  std::vector<nn::Pooling> pooling{nn::Pooling::mean};
  std::vector<DenseLayer> dense;
  bool normalize = false, lower = false;
  bool pools_prompt = true;  // the prompt's tokens count in pooling
  std::int64_t max_length = 0;
  std::map<std::string, std::string> prompts;
  std::string default_prompt;
};

json read_json(const std::filesystem::path& path) {
  const json out = json::parse(io::read_file(path, 1 << 24), nullptr, false);
  if (out.is_discarded()) fail(ErrorCode::format, path.string(), "is not JSON");
  return out;
}

[[noreturn]] void refuse(const std::filesystem::path& path, const char* name, const json& value,
                         const char* wanted) {
  fail(ErrorCode::format, path.string(),
       fmt::format("{} is {}; want {}", name, quoted(value.dump()), wanted));
}

json read_object(const std::filesystem::path& path) {
  json out = read_json(path);
  if (!out.is_object()) fail(ErrorCode::format, path.string(), "is not a JSON object");
  return out;
}

// A field that may be absent or null.
bool flag(const json& config, const std::filesystem::path& path, const char* name, bool otherwise) {
  if (!config.contains(name) || config[name].is_null()) return otherwise;
  if (!config[name].is_boolean()) refuse(path, name, config[name], "true or false");
  return config[name].get<bool>();
}
std::string text_field(const json& config, const std::filesystem::path& path, const char* name,
                       const char* otherwise) {
  if (!config.contains(name) || config[name].is_null()) return otherwise;
  if (!config[name].is_string()) refuse(path, name, config[name], "text");
  return config[name].get<std::string>();
}

std::vector<nn::Pooling> read_pooling(const std::filesystem::path& path) {
  const json config = read_object(path);
  std::vector<nn::Pooling> out;
  if (config.contains("pooling_mode") && config["pooling_mode"].is_string()) {  // sentence-transformers 5
    const std::string mode = config["pooling_mode"].get<std::string>();
    const std::map<std::string, nn::Pooling> modes{
        {"cls", nn::Pooling::cls}, {"mean", nn::Pooling::mean}, {"lasttoken", nn::Pooling::last}};
    const auto found = modes.find(mode);
    if (found == modes.end())
      fail(ErrorCode::unsupported, path.string(),
           fmt::format("pooling_mode is \"{}\"; want cls, mean or lasttoken", mode));
    return {found->second};
  }
  const auto asks = [&](const char* name) { return flag(config, path, name, false); };
  for (const char* name :
       {"pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens"}) {
    if (asks(name))
      fail(ErrorCode::unsupported, path.string(),
           fmt::format("{} is true; want cls, mean or lasttoken", name));
  }
  if (asks("pooling_mode_cls_token")) out.push_back(nn::Pooling::cls);
  if (asks("pooling_mode_mean_tokens")) out.push_back(nn::Pooling::mean);
  if (asks("pooling_mode_lasttoken")) out.push_back(nn::Pooling::last);
  if (out.empty())
    fail(ErrorCode::unsupported, path.string(), "asks for no pooling; want cls, mean or lasttoken");
  return out;
}

DenseLayer read_dense(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  const json config = read_object(path);
  const io::StoredTensors files = io::open_model_files(folder);
  DenseLayer layer{.weight = io::as_float32(files.at("linear.weight")), .bias = {}};
  if (flag(config, path, "bias", true)) layer.bias = io::as_float32(files.at("linear.bias"));
  const std::string name =
      text_field(config, path, "activation_function", "torch.nn.modules.activation.Tanh");
  const std::map<std::string, nn::HeadActivation> known{{"Tanh", nn::HeadActivation::tanh},
                                                        {"ReLU", nn::HeadActivation::relu},
                                                        {"GELU", nn::HeadActivation::gelu},
                                                        {"Identity", nn::HeadActivation::none}};
  const auto found = known.find(name.substr(name.rfind('.') + 1));
  if (found == known.end()) {
    fail(ErrorCode::unsupported, path.string(),
         fmt::format("activation_function is {}; want Tanh, ReLU, GELU or Identity", name));
  }
  layer.activation = found->second;
  return layer;
}

Modules read_modules(const std::filesystem::path& folder) {
  Modules out;
  for (const char* name : {"sentence_bert_config.json", "sentence_roberta_config.json"}) {
    if (!std::filesystem::exists(folder / name)) continue;
    const json config = read_object(folder / name);
    if (config.contains("max_seq_length") && config["max_seq_length"].is_number_integer())
      out.max_length = config["max_seq_length"].get<std::int64_t>();
    out.lower = flag(config, folder / name, "do_lower_case", false);
  }
  if (const auto path = folder / "config_sentence_transformers.json"; std::filesystem::exists(path)) {
    const json config = read_object(path);
    if (config.contains("prompts") && config["prompts"].is_object()) {
      for (const auto& [name, prompt] : config["prompts"].items()) {
        if (prompt.is_string()) out.prompts[name] = prompt.get<std::string>();
      }
    }
    if (config.contains("default_prompt_name") && config["default_prompt_name"].is_string())
      out.default_prompt = config["default_prompt_name"].get<std::string>();
  }
  if (!std::filesystem::exists(folder / "modules.json")) return out;
  const std::filesystem::path list = folder / "modules.json";
  const json modules = read_json(list);
  if (!modules.is_array()) fail(ErrorCode::format, list.string(), "is not a list of modules");
  for (const json& entry : modules) {
    if (!entry.is_object()) refuse(list, "a module", entry, "an object");
    const std::string type = text_field(entry, list, "type", ""), kind = type.substr(type.rfind('.') + 1);
    const std::filesystem::path at = folder / text_field(entry, list, "path", "");
    if (kind == "Pooling") {
      out.pooling = read_pooling(at / "config.json");
      out.pools_prompt = flag(read_object(at / "config.json"), at / "config.json", "include_prompt", true);
    } else if (kind == "Dense") {
      out.dense.push_back(read_dense(at));
    } else if (kind == "Normalize") {
      out.normalize = true;
    } else if (kind != "Transformer") {
      fail(ErrorCode::unsupported, list.string(),
           fmt::format("has a module {}; want Transformer, Pooling, Dense and Normalize", type));
    }
  }
  return out;
}

// Rows of length 1, in place; a row of zeros stays.
void normalize_rows(const Tensor& rows) {
  const std::int64_t width = rows.size(1);
  auto* values = rows.data<float>();
  core::parallel_for(rows.size(0), [&](std::int64_t r) {
    float* row = values + r * width;
    double square = 0;
    for (std::int64_t c = 0; c < width; ++c)
      square += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    const double length = std::max(std::sqrt(square), 1e-12);
    for (std::int64_t c = 0; c < width; ++c)
      row[c] = static_cast<float>(static_cast<double>(row[c]) / length);
  });
}

}  // namespace

struct Embedder::Impl {
  TextModel loaded;
  Modules modules;
  std::int64_t max_length = 0, width = 0;
  std::atomic<std::size_t> cut{0};

  Tensor hidden(const models::PackedBatch& batch) const {
    if (loaded.model->encoder()) return loaded.model->encoder()->hidden(batch);
    models::LanguageModel& model = *loaded.model->language_model();
    return model.has_encoder() ? model.encode(batch).rows : model.hidden(batch);
  }
  Tensor embed(const models::PackedBatch& batch) const {
    const Tensor rows = hidden(batch);
    std::vector<Tensor> parts;
    for (const nn::Pooling pooling : modules.pooling) parts.push_back(nn::pool(rows, batch.offsets, pooling));
    Tensor out = parts.size() == 1 ? parts[0] : concat(parts, -1);
    out = cast(out, DType::float32);
    for (const DenseLayer& layer : modules.dense)
      out = nn::activate(linear(out, layer.weight, layer.bias), layer.activation);
    return out;
  }
};

Embedder::Embedder(const std::string& spec, const hub::LoadOptions& options)
    : Embedder(std::make_shared<const hub::HubModel>(hub::HubModel::load(spec, options))) {}

Embedder::Embedder(std::shared_ptr<const hub::HubModel> loaded)
    : impl_(new Impl{.loaded = text_model(std::move(loaded)), .modules = {}}) {
  const hub::HubModel& model = *impl_->loaded.model;
  if (!model.encoder() && !model.language_model())
    fail(ErrorCode::unsupported, "Embedder", fmt::format("{} does not embed text", model.path().string()));
  if (!model.is_gguf()) impl_->modules = read_modules(model.path());
  std::int64_t longest =
      model.encoder() ? model.encoder()->max_length() : model.language_model()->max_length();
  const auto shorten = [&](std::int64_t length) {
    if (length > 0 && (longest <= 0 || length < longest)) longest = length;
  };
  shorten(impl_->modules.max_length);
  if (impl_->modules.max_length == 0) shorten(impl_->loaded.tokenizer.model_max_length().value_or(0));
  impl_->max_length = longest;
  // What comes out is as wide as it is: a token tells.
  const NoGrad no_grad;
  impl_->width = impl_->embed(models::pack({{0}})).size(1);
}
Embedder::~Embedder() = default;
Embedder::Embedder(Embedder&&) noexcept = default;
Embedder& Embedder::operator=(Embedder&&) noexcept = default;

Tensor Embedder::operator()(const std::vector<std::string>& texts, const EmbedOptions& options) const {
  if (options.batch_tokens < 1) {
    fail(ErrorCode::value, "Embedder",
         fmt::format("batch_tokens is {}; want at least 1", options.batch_tokens));
  }
  const NoGrad no_grad;
  const Modules& modules = impl_->modules;
  std::string prompt = options.prompt;
  const std::string name = options.prompt_name.empty() ? modules.default_prompt : options.prompt_name;
  if (prompt.empty() && !name.empty()) {
    const auto found = modules.prompts.find(name);
    if (found == modules.prompts.end()) {
      std::string known;
      for (const auto& [known_name, text] : modules.prompts)
        known += (known.empty() ? "" : ", ") + known_name;
      fail(ErrorCode::value, "Embedder",
           fmt::format("prompt_name is \"{}\"; this model has {}", name, known.empty() ? "none" : known));
    }
    prompt = found->second;
  }
  if (!prompt.empty() && !modules.pools_prompt) {
    fail(ErrorCode::unsupported, "Embedder",
         "this model pools without the prompt's tokens (include_prompt is false), which is not built");
  }
  std::vector<std::string> changed;
  if (!prompt.empty() || modules.lower) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (modules.lower && text::find_invalid_utf8(texts[i]))
        text::require_utf8(texts[i], "Embedder", fmt::format("text {}", i));
      changed.push_back(modules.lower ? text::lower(prompt + texts[i]) : prompt + texts[i]);
    }
  }
  const std::vector<text::Encoding> encoded = impl_->loaded.tokenizer.encode(
      changed.empty() ? texts : changed, {.max_length = std::max<std::int64_t>(0, impl_->max_length)});
  std::vector<std::size_t> lengths;
  std::size_t cut = 0;
  for (const text::Encoding& encoding : encoded) {
    lengths.push_back(encoding.size());
    if (encoding.truncated > 0) ++cut;
  }
  impl_->cut = cut;
  const auto count = static_cast<std::int64_t>(texts.size());
  Tensor out = zeros({count, width()});
  std::int64_t done = 0;
  for (const std::vector<std::size_t>& batch :
       batches_of(lengths, static_cast<std::size_t>(options.batch_tokens))) {
    std::vector<std::vector<std::int32_t>> ids;
    for (const std::size_t i : batch) ids.push_back(encoded[i].ids);
    if (std::any_of(ids.begin(), ids.end(), [](const auto& of) { return of.empty(); }))
      fail(ErrorCode::value, "Embedder",
           "a text has no tokens, and this tokenizer puts none around it; want text");
    const Tensor rows = impl_->embed(models::pack(ids));
    for (std::size_t r = 0; r < batch.size(); ++r) {
      std::copy_n(rows.data<float>() + static_cast<std::int64_t>(r) * width(), width(),
                  out.data<float>() + static_cast<std::int64_t>(batch[r]) * width());
    }
    done += static_cast<std::int64_t>(batch.size());
    if (options.on_progress) options.on_progress(done, count);
  }
  if (options.normalize.value_or(modules.normalize)) normalize_rows(out);
  return out;
}

std::int64_t Embedder::width() const { return impl_->width; }
bool Embedder::has_prompt(const std::string& name) const { return impl_->modules.prompts.contains(name); }
std::int64_t Embedder::max_length() const { return impl_->max_length; }
std::size_t Embedder::cut() const { return impl_->cut; }
const hub::HubModel& Embedder::model() const { return *impl_->loaded.model; }

}  // namespace headway::inline v1::jobs
