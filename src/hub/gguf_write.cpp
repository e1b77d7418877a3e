// A decoder as a GGUF file: the reverse of describe_gguf, checked by reading it back.
#include <cmath>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/attention/rope_scaling.h>
#include <headway/core/error.h>
#include <headway/core/factory.h>
#include <headway/io/atomic_file.h>
#include <headway/models/llama.h>

#include "hub/gguf.h"
#include "hub/impl.h"

namespace headway::inline v1::hub {
namespace {

using models::LlamaOptions;
using nlohmann::json;

constexpr std::string_view kOperation = "save_gguf";

[[noreturn]] void refuse(const std::string& message) { fail(ErrorCode::unsupported, kOperation, message); }

// What the two files compute apart from weights differs in this option; "" where in none.
std::string difference(const LlamaOptions& a, const LlamaOptions& b) {
  const auto differ = [](double x, double y) {
    return std::abs(x - y) > 1e-6 * std::abs(x);
  };  // float32 there
  const std::int64_t dims = a.head_dim > 0 ? a.head_dim : a.model_dim / a.heads;
  if (a.vocabulary != b.vocabulary) return "vocab_size";
  if (a.max_length != b.max_length) return "max_position_embeddings";
  if (a.activation != b.activation) return "the activation";
  if (a.placement != b.placement || a.norm_kind != b.norm_kind) return "the place of the norms";
  if (differ(a.norm_eps, b.norm_eps)) return "rms_norm_eps";
  if (a.qk_norm != b.qk_norm) return "the norm of queries and keys";
  if (a.qkv_bias != b.qkv_bias || a.output_bias != b.output_bias ||
      a.feed_forward_bias != b.feed_forward_bias)
    return "the biases";
  const auto scale = [&](const LlamaOptions& o) {
    return o.attention_scale != 0 ? o.attention_scale : 1 / std::sqrt(static_cast<double>(dims));
  };
  if (differ(scale(a), scale(b))) return "the scale of attention";
  if (differ(a.attention_softcap, b.attention_softcap)) return "attn_logit_softcapping";
  if (differ(a.logit_softcap, b.logit_softcap)) return "final_logit_softcapping";
  if (a.scaled_embedding != b.scaled_embedding || a.tied != b.tied) return "the embedding";
  if (a.heads != b.heads || a.kv_heads != b.kv_heads || a.layers.size() != b.layers.size())
    return "the sizes";
  for (std::size_t i = 0; i < a.layers.size(); ++i) {
    const models::LlamaLayer &x = a.layers[i], &y = b.layers[i];
    if (x.window != y.window) return fmt::format("the window of layer {}", i);
    bool same = !differ(x.rope.factor, y.rope.factor);
    for (std::int64_t m = 0; same && m < dims / 2; ++m)
      same = !differ(x.rope.rate(m, dims), y.rope.rate(m, dims));
    if (!same) return fmt::format("the rotary positions of layer {}", i);
  }
  return "";
}

// rope_scaling, or rope_parameters of newer files.
json scaling_of(const json& config) {
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    const auto found = config.find(name);
    if (found != config.end() && found->is_object()) return *found;
  }
  return json::object();
}

// Rows of heads whose halves follow each other -> in the order of interleaved pairs.
Tensor interleaved(const Tensor& rows, std::int64_t heads) {
  const std::int64_t height = rows.size(0), width = rows.rank() > 1 ? rows.size(1) : 1, dim = height / heads;
  const std::vector<float> given = rows.to_vector<float>();
  std::vector<float> to(given.size());
  for (std::int64_t r = 0; r < height; ++r)
    std::copy_n(given.data() + half_split_place(r, dim) * width, width, to.data() + r * width);
  return from<float>(to, rows.shape());
}

class Writer {
 public:
  Writer(const LlamaOptions& options, const json& config, const std::string& model_type)
      : o_(options), config_(config), arch_(gguf_architecture(model_type)) {}

  io::GgufMetadata metadata(const io::GgufMetadata& tokenizer, io::GgufEncoding encoding) {
    out_ = tokenizer;
    const std::int64_t dim = o_.head_dim > 0 ? o_.head_dim : o_.model_dim / o_.heads;
    out_.values["general.architecture"] = std::string(arch_);
    if (!out_.has("general.name")) out_.values["general.name"] = std::string(arch_);
    const std::uint32_t file_type = encoding == io::GgufEncoding::f32    ? 0
                                    : encoding == io::GgufEncoding::f16  ? 1
                                    : encoding == io::GgufEncoding::q8_0 ? 7
                                                                         : 32;
    out_.values["general.file_type"] = file_type;
    out_.values["general.quantization_version"] = std::uint32_t{2};
    integer("vocab_size", o_.vocabulary);
    integer("context_length", o_.max_length);
    integer("embedding_length", o_.model_dim);
    integer("block_count", static_cast<std::int64_t>(o_.layers.size()));
    integer("feed_forward_length", o_.feed_forward_dim);
    integer("attention.head_count", o_.heads);
    integer("attention.head_count_kv", o_.kv_heads);
    integer("attention.key_length", dim);
    integer("attention.value_length", dim);
    integer("rope.dimension_count", dim);
    number("attention.layer_norm_rms_epsilon", o_.norm_eps);
    std::int64_t window = 0;
    const RopeOptions* rope = &o_.layers.at(0).rope;
    for (const models::LlamaLayer& layer : o_.layers) {
      window = std::max(window, layer.window);
      if (layer.window == 0) rope = &layer.rope;  // that of whole attention, where both are there
    }
    if (window > 0) integer("attention.sliding_window", window);
    if (o_.attention_softcap != 0) number("attn_logit_softcapping", o_.attention_softcap);
    if (o_.logit_softcap != 0) number("final_logit_softcapping", o_.logit_softcap);
    number("rope.freq_base", rope->base);
    scaling(*rope, dim);
    return std::move(out_);
  }

  std::vector<io::GgufTensor> tensors(const std::vector<io::OutputTensor>& ours, io::GgufEncoding encoding) {
    std::vector<io::GgufTensor> out;
    const bool adds_one = o_.norm_unit_offset;
    for (const io::OutputTensor& entry : ours) {
      const bool bare = !entry.name.starts_with("model.") && !entry.name.starts_with("lm_head.");
      const std::string hub = bare ? "model." + entry.name : entry.name;
      const std::string name = gguf_name(hub, arch_);
      if (name.empty()) refuse(fmt::format("GGUF has no name for tensor {} of a {}", entry.name, arch_));
      Tensor tensor = entry.tensor;
      if (gguf_interleaves(arch_)) {
        if (hub.find(".q_proj.") != std::string::npos) tensor = interleaved(tensor, o_.heads);
        if (hub.find(".k_proj.") != std::string::npos) tensor = interleaved(tensor, o_.kv_heads);
      }
      if (adds_one && hub.ends_with("norm.weight")) {
        std::vector<float> values = tensor.to_vector<float>();
        for (float& value : values) value += 1;
        tensor = from<float>(values, tensor.shape());
      }
      // llama.cpp keeps vectors in float32, and has no blocks for rows that they do not fill.
      io::GgufEncoding as = tensor.rank() == 1 ? io::GgufEncoding::f32 : encoding;
      if (as == io::GgufEncoding::q8_0 && tensor.size(-1) % 32 != 0) as = io::GgufEncoding::f16;
      out.push_back({name, tensor, as});
    }
    if (!factors_.empty()) {
      const Shape shape{static_cast<std::int64_t>(factors_.size())};
      out.push_back({"rope_freqs.weight", from<float>(factors_, shape), io::GgufEncoding::f32});
    }
    return out;
  }

 private:
  std::string key(const char* name) const { return fmt::format("{}.{}", arch_, name); }
  void integer(const char* name, std::int64_t value) {
    out_.values[key(name)] = static_cast<std::uint32_t>(value);
  }
  void number(const char* name, double value) { out_.values[key(name)] = static_cast<float>(value); }

  void scaling(const RopeOptions& rope, std::int64_t dim) {
    const json fields = scaling_of(config_);
    std::string type = "default";
    for (const char* name : {"type", "rope_type"}) {
      if (fields.contains(name) && fields[name].is_string()) type = fields[name].get<std::string>();
    }
    if (type == "linear" || type == "yarn") {
      out_.values[key("rope.scaling.type")] = type;
      number("rope.scaling.factor", fields.value("factor", 1.0));
      if (fields.contains("original_max_position_embeddings")) {
        integer("rope.scaling.original_context_length",
                fields["original_max_position_embeddings"].get<std::int64_t>());
      }
      return;
    }
    if (rope.inverse_frequencies.empty()) return;
    const std::vector<double> plain = rope_frequencies(rope.base, dim);
    for (std::size_t m = 0; m < plain.size(); ++m)
      factors_.push_back(static_cast<float>(plain[m] / rope.inverse_frequencies[m]));
  }

  const LlamaOptions& o_;
  const json& config_;
  std::string arch_;
  io::GgufMetadata out_;
  std::vector<float> factors_;
};

}  // namespace

void HubModel::save_gguf(const std::filesystem::path& file, io::GgufEncoding encoding,
                         const io::GgufMetadata& tokenizer) const {
  const auto* llama = dynamic_cast<const models::Llama*>(&module());
  if (!llama || llama->options().classes > 0) {
    refuse(fmt::format("{} is a {}; want a decoder that is built like Llama", path().string(),
                       architecture().empty() ? model_type() : architecture()));
  }
  const LlamaOptions& options = llama->options();
  const json config = json::parse(this->config());
  Writer writer(options, config, model_type());
  const io::GgufMetadata metadata = writer.metadata(tokenizer, encoding);
  // It appears under its name once it has been read again: what GGUF cannot say would be lost in silence.
  io::AtomicFolder beside(file.string() + ".partial");
  const std::filesystem::path written = beside.path() / "model.gguf";
  io::save_gguf(written, metadata,
                writer.tensors(unbind_weights(module(), impl_->family.table, impl_->origin), encoding));
  const HubModel again = HubModel::load(written.string(), {.precision = options.precision});
  const std::string lost = difference(options, dynamic_cast<models::Llama&>(again.module()).options());
  if (!lost.empty())
    refuse(fmt::format("GGUF cannot say {} of {} as its configuration does", lost, path().string()));
  std::filesystem::rename(written, file);
}

}  // namespace headway::inline v1::hub
