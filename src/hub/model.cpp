#include <headway/hub/model.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <headway/autograd/tape.h>
#include <headway/io/atomic_file.h>
#include <headway/io/gguf.h>
#include <headway/io/model_files.h>
#include <headway/models/bart.h>
#include <headway/models/t5.h>
#include <headway/nn/initial.h>

#include "hub/config.h"
#include "hub/family.h"
#include "hub/gguf.h"
#include "hub/impl.h"
#include "hub/weights.h"

namespace headway::inline v1::hub {

namespace {

// A configuration is a page of text; the largest known have some 100 KB of labels.
constexpr std::uint64_t kConfigLimit = 16 << 20;

using nlohmann::json;

std::vector<std::int32_t> tokens_of(const json& value) {
  std::vector<std::int32_t> out;
  const auto add = [&](const json& token) {
    if (token.is_number_integer()) out.push_back(token.get<std::int32_t>());
  };
  if (value.is_array()) {
    for (const json& token : value) add(token);
  } else {
    add(value);
  }
  return out;
}

GenerationDefaults generation_of(const std::string& text, const json& config) {
  const json own = json::parse(text, nullptr, false);
  const auto field = [&](const char* name) -> json {
    if (own.is_object() && own.contains(name) && !own[name].is_null()) return own[name];
    return config.contains(name) ? config[name] : json();
  };
  const auto token = [&](const char* name) -> std::optional<std::int32_t> {
    const std::vector<std::int32_t> all = tokens_of(field(name));
    return all.empty() ? std::nullopt : std::optional(all.front());
  };
  // Numbers of config.json count where there is no generation_config.json: older files have them there.
  const json& numbers = own.is_object() ? own : config;
  const auto number = [&](const char* name) -> std::optional<double> {
    const json value = numbers.contains(name) ? numbers[name] : json();
    return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
  };
  const auto integer = [&](const char* name) -> std::optional<std::int64_t> {
    const json value = numbers.contains(name) ? numbers[name] : json();
    return value.is_number_integer() ? std::optional(value.get<std::int64_t>()) : std::nullopt;
  };
  GenerationDefaults out;
  out.end = tokens_of(field("eos_token_id"));
  out.begin = token("bos_token_id");
  out.padding = token("pad_token_id");
  out.decoder_start = token("decoder_start_token_id");
  out.forced_begin = token("forced_bos_token_id");
  out.temperature = number("temperature");
  out.top_p = number("top_p");
  out.repetition_penalty = number("repetition_penalty");
  out.length_penalty = number("length_penalty");
  out.top_k = integer("top_k");
  out.max_length = integer("max_length");
  out.beams = integer("num_beams");
  const json sampling = field("do_sample");
  out.sampling = sampling.is_boolean() && sampling.get<bool>();
  const json words = field("bad_words_ids");
  for (std::size_t i = 0; words.is_array() && i < words.size(); ++i) {
    const std::vector<std::int32_t> word = tokens_of(words[i]);
    if (word.size() == 1) out.suppressed.push_back(word.front());
  }
  for (const std::int32_t id : tokens_of(field("suppress_tokens"))) out.suppressed.push_back(id);
  return out;
}

std::vector<std::string> labels_of(const json& config) {
  std::vector<std::string> out;
  const auto names = config.find("id2label");
  if (names == config.end() || !names->is_object()) return out;
  for (std::size_t i = 0; i < names->size(); ++i) {
    const auto name = names->find(std::to_string(i));
    out.push_back(name != names->end() && name->is_string() ? name->get<std::string>()
                                                            : fmt::format("LABEL_{}", i));
  }
  return out;
}

}  // namespace

HubModel::HubModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HubModel::~HubModel() = default;
HubModel::HubModel(HubModel&&) noexcept = default;
HubModel& HubModel::operator=(HubModel&&) noexcept = default;

HubModel HubModel::load(const std::string& spec, const LoadOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->path = io::resolve_model(spec);
  GgufModel gguf;
  io::StoredTensors files;
  if (impl->path.extension() == ".gguf") {
    gguf = describe_gguf(io::open_gguf(impl->path), impl->path.string());
    impl->config = gguf.config;
    files = std::move(gguf.tensors);
  } else {
    impl->config = io::read_file(impl->path / "config.json", kConfigLimit);
    files = io::open_model_files(impl->path);
    const std::filesystem::path generation = impl->path / "generation_config.json";
    if (std::filesystem::exists(generation))
      impl->generation_config = io::read_file(generation, kConfigLimit);
  }
  const std::string what =
      (impl->path.extension() == ".gguf" ? impl->path : impl->path / "config.json").string();
  Config config(impl->config, what);
  config.rope_factors = gguf.rope_factors;
  impl->model_type = config.text("model_type");
  impl->architecture = config.architecture();
  const Build build = find_family(impl->model_type);
  if (!build) {
    fail(ErrorCode::unsupported, what,
         fmt::format("model_type is \"{}\"; want one of {}", impl->model_type, known_families()));
  }
  Blueprint blueprint{.config = config, .files = files, .precision = options.precision};
  {
    const nn::DeferredWeights deferred;
    impl->family = build(blueprint);
  }
  if (gguf.interleaved) {
    for (Rule& rule : impl->family.table.rules) {
      for (Source& source : rule.sources) {
        if (source.name.find(".q_proj.") != std::string::npos)
          source.interleaved_heads = config.integer("num_attention_heads");
        if (source.name.find(".k_proj.") != std::string::npos)
          source.interleaved_heads = config.integer("num_key_value_heads");
      }
    }
  }
  impl->origin = bind_weights(*impl->family.module, impl->family.table, files, impl->path.string());
  impl->notes = config.unread();
  if (!gguf.rope_factors.empty()) impl->unsaid = "rope_freqs scale the rotary frequencies one by one";
  if (gguf.added_to_norms) impl->unsaid = "norms have 1 added to their weights";
  impl->labels = labels_of(config.document());
  impl->generation = generation_of(impl->generation_config, config.document());
  return HubModel(std::move(impl));
}

nn::Module& HubModel::module() const { return *impl_->family.module; }
models::LanguageModel* HubModel::language_model() const { return impl_->family.language_model; }
models::Encoder* HubModel::encoder() const { return impl_->family.encoder; }
const std::string& HubModel::model_type() const { return impl_->model_type; }
const std::string& HubModel::architecture() const { return impl_->architecture; }
const std::string& HubModel::config() const { return impl_->config; }
const GenerationDefaults& HubModel::generation() const { return impl_->generation; }
const std::vector<std::string>& HubModel::labels() const { return impl_->labels; }
const std::vector<std::string>& HubModel::notes() const { return impl_->notes; }
const std::filesystem::path& HubModel::path() const { return impl_->path; }

void HubModel::save(const std::filesystem::path& folder) const {
  if (!impl_->unsaid.empty()) {
    fail(ErrorCode::unsupported, "HubModel::save",
         fmt::format("{}: {}, which config.json cannot say; want the folder that it was made from",
                     path().string(), impl_->unsaid));
  }
  io::AtomicFolder target(folder);
  io::write_file(target.path() / "config.json", impl_->config);
  if (!impl_->generation_config.empty())
    io::write_file(target.path() / "generation_config.json", impl_->generation_config);
  io::save_model_files(target.path(), unbind_weights(module(), impl_->family.table, impl_->origin));
  target.commit();
}

std::vector<Tensor> HubModel::hidden_states(const models::PackedBatch& batch,
                                            const models::PackedBatch& targets) const {
  const NoGrad no_grad;
  std::vector<Tensor> states;
  const nn::LayerObserver observer = [&](std::int64_t, const Tensor& hidden) { states.push_back(hidden); };
  Tensor last;
  if (encoder()) {
    last = encoder()->hidden(batch, observer);
  } else if (language_model()->has_encoder() && targets.ids.defined()) {
    last = language_model()->hidden(targets, language_model()->encode(batch), observer);
  } else if (language_model()->has_encoder()) {
    auto* t5 = dynamic_cast<models::T5*>(&module());
    last = t5 ? t5->encoded(batch, observer) : dynamic_cast<models::Bart&>(module()).encoded(batch, observer);
  } else {
    last = language_model()->hidden(batch, {}, observer);
  }
  // transformers lists a ViT's last block as it is.
  if (impl_->model_type != "vit") states.back() = last;
  return states;
}

}  // namespace headway::inline v1::hub
