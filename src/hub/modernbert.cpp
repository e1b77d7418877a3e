#include <headway/models/modernbert.h>

#include "hub/family.h"

namespace headway::inline v1::hub {

Family build_modernbert(Blueprint& b) {
  Config& c = b.config;
  const std::string prefix = "model.";
  models::ModernBertOptions o;
  o.vocabulary = c.integer("vocab_size");
  o.max_length = c.integer("max_position_embeddings");
  o.model_dim = c.integer("hidden_size");
  o.heads = c.integer("num_attention_heads");
  o.feed_forward_dim = c.integer("intermediate_size");
  o.activation = c.feed_forward("hidden_activation", true, "gelu");
  o.norm_eps = c.number("norm_eps", 1e-5);
  o.norm_bias = c.boolean("norm_bias", false);
  o.attention_bias = c.boolean("attention_bias", false);
  o.feed_forward_bias = c.boolean("mlp_bias", false);
  o.local_window = c.integer("local_attention", 128) / 2;
  o.precision = b.precision;
  const std::int64_t layers = c.integer("num_hidden_layers"),
                     every = c.integer("global_attn_every_n_layers", 3);
  const std::vector<std::string> types = c.texts("layer_types");
  for (std::int64_t i = 0; i < layers; ++i) {
    const bool listed = static_cast<std::size_t>(i) < types.size();
    o.global.push_back(listed ? types[static_cast<std::size_t>(i)] == "full_attention" : i % every == 0);
  }
  const std::int64_t dims = o.model_dim / o.heads;
  if (c.has("rope_parameters")) {
    o.global_rope = c.rope(dims, 160000, "full_attention");
    o.local_rope = c.rope(dims, 10000, "sliding_attention");
    c.ignore({"global_rope_theta", "local_rope_theta"});
  } else {
    o.global_rope.base = c.number("global_rope_theta", 160000);
    o.local_rope.base = c.number("local_rope_theta", 10000);
  }
  c.ignore({"classifier_dropout", "embedding_dropout", "mlp_dropout", "attention_dropout",
            "deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index", "reference_compile",
            "repad_logits_with_grad", "pad_token_id", "cls_token_id", "sep_token_id",
            "initializer_cutoff_factor", "decoder_bias", "classifier_bias", "classifier_activation",
            "classifier_pooling", "gradient_checkpointing"});
  ignore_common_fields(c);

  WeightTable table{.prefix = prefix};
  const std::string l = prefix + "layers.{}.";
  std::vector<Rule> rules;
  for (const std::string kind : {".weight", ".bias"}) {
    rules.push_back({"blocks.{}.self_attention_norm" + kind, {{l + "attn_norm" + kind}}});
    rules.push_back({"blocks.{}.self_attention.qkv" + kind, {{l + "attn.Wqkv" + kind}}});
    rules.push_back({"blocks.{}.self_attention.output" + kind, {{l + "attn.Wo" + kind}}});
    rules.push_back({"blocks.{}.feed_forward_norm" + kind, {{l + "mlp_norm" + kind}}});
    // The first half goes through the activation.
    rules.push_back(
        {"blocks.{}.feed_forward.gate" + kind, {{.name = l + "mlp.Wi" + kind, .part = 0, .parts = 2}}});
    rules.push_back(
        {"blocks.{}.feed_forward.up" + kind, {{.name = l + "mlp.Wi" + kind, .part = 1, .parts = 2}}});
    rules.push_back({"blocks.{}.feed_forward.down" + kind, {{l + "mlp.Wo" + kind}}});
  }
  table.rules = each_layer(rules, layers);
  table.rules.push_back({"tokens.weight", {{prefix + "embeddings.tok_embeddings.weight"}}});
  for (const std::string kind : {".weight", ".bias"}) {
    table.rules.push_back({"norm" + kind, {{prefix + "embeddings.norm" + kind}}});
    table.rules.push_back({"blocks.norm" + kind, {{prefix + "final_norm" + kind}}});
    table.rules.push_back({"head.dense" + kind, {{"head.dense" + kind}}});
    table.rules.push_back({"head.norm" + kind, {{"head.norm" + kind}}});
  }

  const std::string architecture = c.architecture();
  const bool masked = architecture.ends_with("ForMaskedLM");
  if (architecture.ends_with("ForSequenceClassification")) o.head.kind = nn::HeadKind::classes;
  if (architecture.ends_with("ForTokenClassification")) o.head.kind = nn::HeadKind::tokens;
  if (architecture.ends_with("ForQuestionAnswering")) o.head.kind = nn::HeadKind::spans;
  if (masked) o.head.kind = nn::HeadKind::masked;
  if (o.head.kind != nn::HeadKind::none) {
    o.head.width = o.model_dim;
    o.head.outputs = masked ? o.vocabulary : o.head.kind == nn::HeadKind::spans ? 2 : c.labels();
    o.head.dense = true;
    o.head.dense_bias = c.boolean("classifier_bias", false);
    o.head.activation = c.head_activation("classifier_activation", "gelu");
    o.head.norm = nn::NormLayerOptions{.kind = nn::NormKind::layer, .eps = o.norm_eps, .bias = o.norm_bias};
    o.head.tied = masked && !b.has("decoder.weight", prefix) && c.boolean("tie_word_embeddings", true);
    o.head.bias = !masked || c.boolean("decoder_bias", true);
    c.only("classifier_pooling", {"cls", "mean"});
    o.head_pooling = c.text("classifier_pooling", "cls") == "mean" ? nn::Pooling::mean : nn::Pooling::cls;
    for (const std::string kind : {".weight", ".bias"})
      table.rules.push_back({"head.output" + kind, {{(masked ? "decoder" : "classifier") + kind}}});
    if (o.head.tied) table.ignored.emplace_back("decoder\\.weight");
  }
  Generator generator(0);
  return as_family(std::make_unique<models::ModernBert>(o, generator), std::move(table));
}

}  // namespace headway::inline v1::hub
