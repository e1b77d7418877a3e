#include "hub/gguf.h"

#include <map>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/core/error.h>

namespace headway::inline v1::hub {
namespace {

struct Name {
  std::string_view gguf, hub;
};
constexpr Name kGlobal[] = {{"token_embd.weight", "model.embed_tokens.weight"},
                            {"output_norm.weight", "model.norm.weight"},
                            {"output.weight", "lm_head.weight"}};
constexpr Name kLayer[] = {
    {"attn_norm.weight", "input_layernorm.weight"},    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},      {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias"},          {"attn_k.bias", "self_attn.k_proj.bias"},
    {"attn_v.bias", "self_attn.v_proj.bias"},          {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_output.bias", "self_attn.o_proj.bias"},     {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"}, {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},           {"ffn_down.weight", "mlp.down_proj.weight"}};
// These depend on where a block normalizes.
constexpr Name kPreNorms[] = {{"ffn_norm.weight", "post_attention_layernorm.weight"}};
constexpr Name kOtherNorms[] = {{"post_attention_norm.weight", "post_attention_layernorm.weight"},
                                {"ffn_norm.weight", "pre_feedforward_layernorm.weight"},
                                {"post_ffw_norm.weight", "post_feedforward_layernorm.weight"}};

struct Architecture {
  std::string_view gguf, model_type, class_name;
  bool interleaved = false;  // llama.cpp's converter reorders rows of queries and keys for these
  bool pre_norm = true;
};
constexpr Architecture kArchitectures[] = {{"llama", "llama", "LlamaForCausalLM", true},
                                           {"qwen2", "qwen2", "Qwen2ForCausalLM"},
                                           {"qwen3", "qwen3", "Qwen3ForCausalLM"},
                                           {"gemma2", "gemma2", "Gemma2ForCausalLM", false, false},
                                           {"gemma3", "gemma3_text", "Gemma3ForCausalLM", false, false},
                                           {"olmo2", "olmo2", "Olmo2ForCausalLM", false, false}};

std::string hub_name(const std::string& name, const Architecture& of) {
  const auto find = [](const auto& table, std::string_view wanted) -> std::string_view {
    for (const Name& entry : table) {
      if (entry.gguf == wanted) return entry.hub;
    }
    return {};
  };
  if (const std::string_view global = find(kGlobal, name); !global.empty()) return std::string(global);
  if (!name.starts_with("blk.")) return name;
  const std::size_t dot = name.find('.', 4);
  if (dot == std::string::npos) return name;
  const std::string_view rest = std::string_view(name).substr(dot + 1);
  std::string_view hub = find(kLayer, rest);
  if (hub.empty()) hub = of.pre_norm ? find(kPreNorms, rest) : find(kOtherNorms, rest);
  return hub.empty() ? name : fmt::format("model.layers.{}.{}", name.substr(4, dot - 4), hub);
}

const Architecture& architecture_of(const io::GgufFile& file, const std::string& what) {
  const std::string& name = file.metadata.text("general.architecture");
  std::string known;
  for (const Architecture& entry : kArchitectures) {
    if (entry.gguf == name) return entry;
    known += (known.empty() ? "" : ", ") + std::string(entry.gguf);
  }
  fail(ErrorCode::unsupported, what,
       fmt::format("general.architecture is \"{}\"; want one of {}", name, known));
}

const Architecture& known(const std::string& gguf) {
  for (const Architecture& entry : kArchitectures) {
    if (entry.gguf == gguf) return entry;
  }
  fail(ErrorCode::internal, "gguf", fmt::format("there is no architecture {}", gguf));
}

}  // namespace

std::string gguf_architecture(const std::string& model_type) {
  const std::string wanted = model_type == "mistral"  ? "llama"
                             : model_type == "gemma3" ? "gemma3_text"
                                                      : model_type;
  for (const Architecture& entry : kArchitectures) {
    if (entry.model_type == wanted) return std::string(entry.gguf);
  }
  fail(ErrorCode::unsupported, "save_gguf",
       fmt::format("model_type is \"{}\", which GGUF files of ours do not have", model_type));
}

std::string gguf_name(const std::string& name, const std::string& architecture) {
  const Architecture& of = known(architecture);
  const auto find = [](const auto& table, std::string_view wanted) -> std::string_view {
    for (const Name& entry : table) {
      if (entry.hub == wanted) return entry.gguf;
    }
    return {};
  };
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return std::string(find(kGlobal, name));
  const std::size_t dot = name.find('.', kLayers.size());
  if (dot == std::string::npos) return {};
  const std::string_view rest = std::string_view(name).substr(dot + 1);
  std::string_view gguf = find(kLayer, rest);
  if (gguf.empty()) gguf = of.pre_norm ? find(kPreNorms, rest) : find(kOtherNorms, rest);
  if (gguf.empty()) return {};
  return fmt::format("blk.{}.{}", name.substr(kLayers.size(), dot - kLayers.size()), gguf);
}

bool gguf_interleaves(const std::string& architecture) { return known(architecture).interleaved; }

GgufModel describe_gguf(const io::GgufFile& file, const std::string& what) {
  const Architecture& of = architecture_of(file, what);
  const io::GgufMetadata& meta = file.metadata;
  const auto key = [&](const char* name) { return fmt::format("{}.{}", of.gguf, name); };
  nlohmann::json config;
  const std::int64_t width = meta.integer(key("embedding_length")),
                     heads = meta.integer(key("attention.head_count"));
  config["model_type"] = of.model_type;
  config["architectures"] = {of.class_name};
  config["hidden_size"] = width;
  config["num_attention_heads"] = heads;
  config["num_key_value_heads"] = meta.integer(key("attention.head_count_kv"), heads);
  config["head_dim"] = meta.integer(key("attention.key_length"), heads > 0 ? width / heads : 0);
  config["num_hidden_layers"] = meta.integer(key("block_count"));
  config["intermediate_size"] = meta.integer(key("feed_forward_length"));
  config["max_position_embeddings"] = meta.integer(key("context_length"));
  config["rms_norm_eps"] = meta.number(key("attention.layer_norm_rms_epsilon"));
  config["rope_theta"] = meta.number(key("rope.freq_base"), 10000);
  const std::int64_t rotated =
      meta.integer(key("rope.dimension_count"), config["head_dim"].get<std::int64_t>());
  if (rotated != config["head_dim"].get<std::int64_t>()) {
    fail(ErrorCode::unsupported, what,
         fmt::format("{} is {}; want the heads' {}", key("rope.dimension_count"), rotated,
                     config["head_dim"].dump()));
  }
  const std::string scaling = meta.text(key("rope.scaling.type"), "none");
  if (scaling == "linear" || scaling == "yarn") {
    config["rope_scaling"] = {{"rope_type", scaling}, {"factor", meta.number(key("rope.scaling.factor"))}};
    if (meta.has(key("rope.scaling.original_context_length")))
      config["rope_scaling"]["original_max_position_embeddings"] =
          meta.integer(key("rope.scaling.original_context_length"));
  } else if (scaling != "none") {
    fail(ErrorCode::unsupported, what,
         fmt::format("{} is \"{}\"; want none, linear or yarn", key("rope.scaling.type"), scaling));
  }
  for (const char* name : {"expert_count", "attention.clamp_kqv", "attention.max_alibi_bias"}) {
    if (meta.has(key(name)) && meta.number(key(name)) != 0)
      fail(ErrorCode::unsupported, what, fmt::format("{} is {}; want 0", key(name), meta.number(key(name))));
  }
  if (meta.has(key("attention.sliding_window"))) {
    config["sliding_window"] = meta.integer(key("attention.sliding_window"));
    if (of.gguf == "llama" && config["sliding_window"] != 0) {
      config["model_type"] = "mistral";
      config["architectures"] = {"MistralForCausalLM"};
    }
  }
  if (of.gguf.starts_with("gemma")) {
    config["query_pre_attn_scalar"] = config["head_dim"];
    // llama.cpp's converter has added the 1 to the norms' weights.
    config["norm_unit_offset"] = false;
    if (meta.has(key("attn_logit_softcapping")))
      config["attn_logit_softcapping"] = meta.number(key("attn_logit_softcapping"));
    if (meta.has(key("final_logit_softcapping")))
      config["final_logit_softcapping"] = meta.number(key("final_logit_softcapping"));
  }
  GgufModel out;
  out.interleaved = of.interleaved;
  out.added_to_norms = of.gguf.starts_with("gemma");
  for (io::StoredTensor tensor : file.tensors.tensors) {
    if (tensor.name == "rope_freqs.weight") {
      const Tensor factors = io::as_float32(tensor);
      for (const float factor : factors.to_vector<float>())
        out.rope_factors.push_back(static_cast<double>(factor));
      continue;
    }
    tensor.name = hub_name(tensor.name, of);
    if (tensor.name == "model.embed_tokens.weight" && tensor.shape.rank() == 2)
      config["vocab_size"] = tensor.shape[0];
    out.tensors.tensors.push_back(std::move(tensor));
  }
  out.tensors.make_index();
  config["tie_word_embeddings"] = out.tensors.find("lm_head.weight") == nullptr;
  config["attention_bias"] =
      out.tensors.find("model.layers.0.self_attn.q_proj.bias") != nullptr && of.gguf != "qwen2";
  for (const auto& [field, name] : {std::pair("bos_token_id", "tokenizer.ggml.bos_token_id"),
                                    std::pair("eos_token_id", "tokenizer.ggml.eos_token_id"),
                                    std::pair("pad_token_id", "tokenizer.ggml.padding_token_id")}) {
    if (meta.has(name)) config[field] = meta.integer(name);
  }
  out.config = config.dump(2);
  return out;
}

}  // namespace headway::inline v1::hub
