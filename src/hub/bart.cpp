// BART and Marian: post-norm encoder–decoders.
#include <headway/models/bart.h>

#include "hub/family.h"

namespace headway::inline v1::hub {
namespace {

using models::BartOptions;

std::vector<Rule> side(const std::string& ours, bool decoder, std::int64_t layers, std::int64_t width,
                       const std::string& prefix) {
  const std::string l = prefix + ours + ".layers.{}.", blocks = ours + ".blocks.{}.";
  std::vector<Rule> rules;
  const auto add = [&](const std::string& name, const std::string& theirs, const std::string& kind) {
    rules.push_back({blocks + name + kind, {{l + theirs + kind}}});
  };
  for (const std::string kind : {".weight", ".bias"}) {
    const auto attention = [&](const std::string& name, const std::string& theirs) {
      rules.push_back({blocks + name + ".qkv" + kind,
                       {{.name = l + theirs + ".q_proj" + kind, .rows = width},
                        {.name = l + theirs + ".k_proj" + kind, .rows = width},
                        {.name = l + theirs + ".v_proj" + kind, .rows = width}}});
      add(name + ".output", theirs + ".out_proj", kind);
      add(name + "_norm", theirs + "_layer_norm", kind);
    };
    attention("self_attention", "self_attn");
    if (decoder) attention("cross_attention", "encoder_attn");
    add("feed_forward.up", "fc1", kind);
    add("feed_forward.down", "fc2", kind);
    add("feed_forward_norm", "final_layer_norm", kind);
  }
  std::vector<Rule> out = each_layer(rules, layers);
  for (const std::string kind : {".weight", ".bias"})
    out.push_back({ours + ".norm" + kind, {{prefix + ours + ".layernorm_embedding" + kind}}});
  out.push_back({ours + ".positions.weight", {{prefix + ours + ".embed_positions.weight"}}});
  return out;
}

Family build(Blueprint& b, bool marian) {
  Config& c = b.config;
  const std::string prefix = "model.";
  BartOptions o;
  o.vocabulary = c.integer("vocab_size");
  o.max_length = c.integer("max_position_embeddings", 1024);
  o.model_dim = c.integer("d_model");
  o.encoder_layers = c.integer("encoder_layers");
  o.decoder_layers = c.integer("decoder_layers");
  o.encoder_heads = c.integer("encoder_attention_heads");
  o.decoder_heads = c.integer("decoder_attention_heads");
  o.encoder_feed_forward_dim = c.integer("encoder_ffn_dim");
  o.decoder_feed_forward_dim = c.integer("decoder_ffn_dim");
  o.activation = c.feed_forward("activation_function", false, "gelu");
  o.scaled_embedding = c.boolean("scale_embedding", false);
  o.output_bias = b.has("final_logits_bias", prefix);
  o.dropout = 0;
  o.precision = b.precision;
  if (marian) {
    o.positions = nn::PositionKind::sinusoidal;
    o.position_offset = 0;
    o.embedding_norm = false;
    if (!c.boolean("share_encoder_decoder_embeddings", true)) {
      o.source_vocabulary = o.vocabulary;
      o.vocabulary = c.integer("decoder_vocab_size", o.vocabulary);
    }
  }
  c.only("normalize_before", {false});
  c.only("add_final_layer_norm", {false});
  c.only("normalize_embedding", {!marian});
  c.only("static_position_embeddings", {marian});
  c.only("tie_word_embeddings", {true});
  c.only("add_bias_logits", {false});
  const std::string architecture = c.architecture();
  if (architecture.ends_with("ForSequenceClassification") || architecture.ends_with("ForQuestionAnswering") ||
      architecture.ends_with("ForCausalLM")) {
    c.refuse("architectures", "a model for conditional generation");
  }
  c.ignore({"attention_dropout",
            "activation_dropout",
            "dropout",
            "classifier_dropout",
            "classif_dropout",
            "encoder_layerdrop",
            "decoder_layerdrop",
            "init_std",
            "pad_token_id",
            "num_hidden_layers",
            "num_beams",
            "max_length",
            "force_bos_token_to_be_generated",
            "extra_pos_embeddings",
            "scale_embedding",
            "share_encoder_decoder_embeddings",
            "decoder_vocab_size",
            "bad_words_ids",
            "early_stopping",
            "no_repeat_ngram_size",
            "is_decoder",
            "task_specific_params",
            "num_labels"});
  ignore_common_fields(c);

  WeightTable table{.prefix = prefix};
  table.rules = side("encoder", false, o.encoder_layers, o.model_dim, prefix);
  for (Rule& rule : side("decoder", true, o.decoder_layers, o.model_dim, prefix))
    table.rules.push_back(std::move(rule));
  const bool shared = o.source_vocabulary == 0;
  table.rules.push_back({"decoder.tokens.weight",
                         {{shared ? prefix + "shared.weight" : prefix + "decoder.embed_tokens.weight"}}});
  table.rules.push_back({"encoder.tokens.weight", {{prefix + "encoder.embed_tokens.weight"}}});
  table.rules.push_back({"output.bias", {{"final_logits_bias"}}, false, {1, o.vocabulary}});
  table.ignored = {"(model\\.)?(en|de)coder\\.version", "lm_head\\.weight"};
  if (shared) table.ignored.emplace_back("(model\\.)?(en|de)coder\\.embed_tokens\\.weight");
  if (marian) table.ignored.emplace_back("(model\\.)?(en|de)coder\\.embed_positions\\.weight");
  Generator generator(0);
  return as_family(std::make_unique<models::Bart>(o, generator), std::move(table));
}

}  // namespace

Family build_bart(Blueprint& b) { return build(b, false); }
Family build_marian(Blueprint& b) { return build(b, true); }

}  // namespace headway::inline v1::hub
