// Llama, Mistral, Qwen 2 and 3, Gemma 2 and 3, OLMo 2: one model with other switches.
#include <headway/models/llama.h>

#include <algorithm>
#include <cmath>

#include "hub/family.h"

namespace headway::inline v1::hub {
namespace {

using models::LlamaOptions;

// The window of each layer: layer_types where it is given, else `sliding` of the layer's number.
template <typename Sliding>
std::vector<bool> sliding_layers(Config& c, std::int64_t layers, Sliding&& sliding) {
  const std::vector<std::string> types = c.texts("layer_types");
  if (!types.empty() && static_cast<std::int64_t>(types.size()) != layers)
    c.refuse("layer_types", std::to_string(layers) + " of them");
  std::vector<bool> out;
  for (std::int64_t i = 0; i < layers; ++i) {
    if (types.empty()) {
      out.push_back(sliding(i));
      continue;
    }
    const std::string& type = types[static_cast<std::size_t>(i)];
    if (type != "full_attention" && type != "sliding_attention")
      c.refuse("layer_types", "full_attention and sliding_attention alone");
    out.push_back(type == "sliding_attention");
  }
  return out;
}

// What every one of them has.
LlamaOptions common(Blueprint& b) {
  Config& c = b.config;
  LlamaOptions o;
  o.vocabulary = c.integer("vocab_size");
  o.max_length = c.integer("max_position_embeddings", 0);
  o.model_dim = c.integer("hidden_size");
  o.heads = c.integer("num_attention_heads");
  o.kv_heads = c.integer("num_key_value_heads", o.heads);
  o.head_dim = c.integer("head_dim", o.heads > 0 ? o.model_dim / o.heads : 0);
  o.feed_forward_dim = c.integer("intermediate_size");
  o.norm_eps = c.number("rms_norm_eps", 1e-6);
  o.precision = b.precision;
  c.only("partial_rotary_factor", {1.0, 1});
  c.ignore({"attention_dropout", "pretraining_tp", "pad_token_id", "cache_implementation"});
  ignore_common_fields(c);
  return o;
}

void add_layers(LlamaOptions& o, const std::vector<bool>& sliding, std::int64_t window,
                const RopeOptions& full, const RopeOptions& local) {
  for (const bool slides : sliding) o.layers.push_back({slides ? window : 0, slides ? local : full});
}

void read_family(Blueprint& b, const std::string& type, LlamaOptions& o) {
  Config& c = b.config;
  const std::int64_t layers = c.integer("num_hidden_layers");
  const auto all = [&](bool value) { return std::vector<bool>(static_cast<std::size_t>(layers), value); };
  const bool gemma = type.starts_with("gemma");
  o.activation =
      c.feed_forward(gemma ? "hidden_activation" : "hidden_act", true, gemma ? "gelu_pytorch_tanh" : "silu");
  if (type == "llama" || type == "mistral") {
    o.qkv_bias = o.output_bias = c.boolean("attention_bias", false);
    o.feed_forward_bias = c.boolean("mlp_bias", false);
    const RopeOptions rope = c.rope(o.head_dim, 10000);
    // A Mistral file without the field means its class's 4096; null means none.
    const bool absent = type == "mistral" && !c.document().contains("sliding_window");
    const std::int64_t window = type == "mistral" ? (absent ? 4096 : c.integer("sliding_window", 0)) : 0;
    if (type == "mistral") {
      for (const std::string& kind : c.texts("layer_types")) {
        if (window > 0 && kind != "sliding_attention") c.refuse("layer_types", "sliding_attention alone");
      }
    } else {
      c.ignore({"layer_types", "sliding_window"});
    }
    return add_layers(o, all(window > 0), window, rope, rope);
  }
  if (type == "qwen2" || type == "qwen3") {
    o.qkv_bias = type == "qwen2" || c.boolean("attention_bias", false);
    o.output_bias = type == "qwen3" && o.qkv_bias;
    if (type == "qwen3") o.qk_norm = nn::QkNorm::head;
    if (type == "qwen3" && !c.has("head_dim")) o.head_dim = 128;
    const bool uses = c.boolean("use_sliding_window", false);
    const std::int64_t window = c.integer("sliding_window", uses ? 4096 : 0);
    const std::int64_t first = c.integer("max_window_layers", 28);
    const RopeOptions rope = c.rope(o.head_dim, 10000);
    const auto sliding = sliding_layers(c, layers, [&](std::int64_t i) { return uses && i >= first; });
    return add_layers(o, sliding, window, rope, rope);
  }
  if (type == "olmo2") {
    o.placement = nn::NormPlacement::output;
    o.qk_norm = nn::QkNorm::all;
    o.qkv_bias = o.output_bias = c.boolean("attention_bias", false);
    if (!c.has("rms_norm_eps")) o.norm_eps = 1e-5;
    const RopeOptions rope = c.rope(o.head_dim, 10000);
    return add_layers(o, all(false), 0, rope, rope);
  }
  // Gemma 2 and 3.
  o.placement = nn::NormPlacement::both;
  o.norm_unit_offset = c.boolean("norm_unit_offset", true);
  o.scaled_embedding = true;
  o.qkv_bias = o.output_bias = c.boolean("attention_bias", false);
  if (!c.has("head_dim")) o.head_dim = 256;
  o.attention_scale = 1 / std::sqrt(c.number("query_pre_attn_scalar", 256));
  o.logit_softcap = c.number("final_logit_softcapping", 0);
  c.ignore({"hidden_act"});
  const std::int64_t window = c.integer("sliding_window", 4096);
  if (type == "gemma2") {
    o.attention_softcap = c.number("attn_logit_softcapping", 0);
    c.only("use_bidirectional_attention", {false});
    const RopeOptions rope = c.rope(o.head_dim, 10000);
    const auto sliding = sliding_layers(c, layers, [](std::int64_t i) { return i % 2 == 0; });
    return add_layers(o, sliding, window, rope, rope);
  }
  // transformers has the field and does not use it: whoever sets it means something else than it computes.
  c.only("attn_logit_softcapping", {nullptr});
  o.causal = !c.boolean("use_bidirectional_attention", false);
  o.qk_norm = nn::QkNorm::head;
  const std::string pattern = c.first_of({"sliding_window_pattern", "_sliding_window_pattern"});
  const std::int64_t every = c.integer(pattern, 6);
  c.ignore({"sliding_window_pattern", "_sliding_window_pattern"});
  const RopeOptions full = c.rope(o.head_dim, 1000000, "full_attention");
  const RopeOptions local = c.has("rope_parameters")
                                ? c.rope(o.head_dim, 10000, "sliding_attention")
                                : RopeOptions{.base = c.number("rope_local_base_freq", 10000)};
  c.ignore({"rope_local_base_freq", "rope_theta"});
  const auto sliding = sliding_layers(c, layers, [&](std::int64_t i) { return (i + 1) % every != 0; });
  // A window of 0 on both sides leaves a position itself; in a layer it would mean none.
  add_layers(o, sliding, o.causal ? window : std::max<std::int64_t>(1, window), full, local);
}

WeightTable table_of(const LlamaOptions& o, const std::string& prefix) {
  WeightTable table{.prefix = prefix};
  const std::string l = prefix + "layers.{}.";
  const std::int64_t queries = o.heads * o.head_dim, keys = o.kv_heads * o.head_dim;
  std::vector<Rule> rules;
  for (const std::string kind : {".weight", ".bias"}) {
    rules.push_back({"blocks.{}.self_attention.qkv" + kind,
                     {{.name = l + "self_attn.q_proj" + kind, .rows = queries},
                      {.name = l + "self_attn.k_proj" + kind, .rows = keys},
                      {.name = l + "self_attn.v_proj" + kind, .rows = keys}}});
    rules.push_back({"blocks.{}.self_attention.output" + kind, {{l + "self_attn.o_proj" + kind}}});
    rules.push_back({"blocks.{}.feed_forward.gate" + kind, {{l + "mlp.gate_proj" + kind}}});
    rules.push_back({"blocks.{}.feed_forward.up" + kind, {{l + "mlp.up_proj" + kind}}});
    rules.push_back({"blocks.{}.feed_forward.down" + kind, {{l + "mlp.down_proj" + kind}}});
  }
  rules.push_back({"blocks.{}.self_attention.query_norm.weight", {{l + "self_attn.q_norm.weight"}}});
  rules.push_back({"blocks.{}.self_attention.key_norm.weight", {{l + "self_attn.k_norm.weight"}}});
  // Where the norms stand decides what they are called.
  const bool pre = o.placement == nn::NormPlacement::pre, both = o.placement == nn::NormPlacement::both;
  rules.push_back({"blocks.{}.self_attention_norm.weight",
                   {{l + (pre || both ? "input_layernorm.weight" : "post_attention_layernorm.weight")}}});
  rules.push_back({"blocks.{}.feed_forward_norm.weight",
                   {{l + (both  ? "pre_feedforward_layernorm.weight"
                          : pre ? "post_attention_layernorm.weight"
                                : "post_feedforward_layernorm.weight")}}});
  rules.push_back({"blocks.{}.self_attention_output_norm.weight", {{l + "post_attention_layernorm.weight"}}});
  rules.push_back({"blocks.{}.feed_forward_output_norm.weight", {{l + "post_feedforward_layernorm.weight"}}});
  table.rules = each_layer(rules, static_cast<std::int64_t>(o.layers.size()));
  table.rules.push_back({"tokens.weight", {{prefix + "embed_tokens.weight"}}});
  table.rules.push_back({"blocks.norm.weight", {{prefix + "norm.weight"}}});
  table.rules.push_back({"output.weight", {{o.classes > 0 ? "score.weight" : "lm_head.weight"}}});
  table.ignored = {".*rotary_emb\\.inv_freq"};
  return table;
}

}  // namespace

Family build_llama(Blueprint& b) {
  Config& c = b.config;
  const std::string type = c.text("model_type"), prefix = "model.";
  LlamaOptions o = common(b);
  read_family(b, type, o);
  const std::string architecture = c.architecture();
  if (architecture.ends_with("ForSequenceClassification")) {
    o.classes = c.labels();
    o.logit_softcap = 0;  // it is for scores of tokens alone
  } else if (!architecture.empty() && !architecture.ends_with("ForCausalLM") &&
             !architecture.ends_with("Model")) {
    c.refuse("architectures", "a model for causal language modelling or sequence classification");
  }
  const bool ties = c.boolean("tie_word_embeddings", type.starts_with("gemma"));
  o.tied = o.classes == 0 && !b.has("lm_head.weight", prefix) && (ties || architecture.ends_with("Model"));
  Generator generator(0);
  return as_family(std::make_unique<models::Llama>(o, generator), table_of(o, prefix));
}

}  // namespace headway::inline v1::hub
