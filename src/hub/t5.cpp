#include <headway/models/t5.h>

#include "hub/family.h"

namespace headway::inline v1::hub {
namespace {

std::vector<Rule> side(const std::string& ours, bool decoder, std::int64_t layers,
                       const models::T5Config& o) {
  const std::string theirs = ours + ".block.{}.layer.", blocks = ours + ".blocks.{}.";
  const std::int64_t rows = o.heads * o.head_dim;
  std::vector<Rule> rules;
  const auto attention = [&](const std::string& name, const std::string& layer, const std::string& part) {
    const std::string at = theirs + layer + "." + part + ".";
    rules.push_back({blocks + name + ".qkv.weight",
                     {{.name = at + "q.weight", .rows = rows},
                      {.name = at + "k.weight", .rows = rows},
                      {.name = at + "v.weight", .rows = rows}}});
    rules.push_back({blocks + name + ".output.weight", {{at + "o.weight"}}});
    rules.push_back({blocks + name + "_norm.weight", {{theirs + layer + ".layer_norm.weight"}}});
  };
  attention("self_attention", "0", "SelfAttention");
  if (decoder) attention("cross_attention", "1", "EncDecAttention");
  const std::string last = decoder ? "2" : "1", dense = theirs + last + ".DenseReluDense.";
  const bool gated = nn::is_gated(o.activation);
  rules.push_back({blocks + "feed_forward.up.weight", {{dense + (gated ? "wi_1.weight" : "wi.weight")}}});
  rules.push_back({blocks + "feed_forward.gate.weight", {{dense + "wi_0.weight"}}});
  rules.push_back({blocks + "feed_forward.down.weight", {{dense + "wo.weight"}}});
  rules.push_back({blocks + "feed_forward_norm.weight", {{theirs + last + ".layer_norm.weight"}}});
  std::vector<Rule> out = each_layer(rules, layers);
  out.push_back({ours + ".blocks.norm.weight", {{ours + ".final_layer_norm.weight"}}});
  out.push_back(
      {ours + ".position_table", {{ours + ".block.0.layer.0.SelfAttention.relative_attention_bias.weight"}}});
  return out;
}

}  // namespace

Family build_t5(Blueprint& b) {
  Config& c = b.config;
  models::T5Config o;
  o.vocabulary = c.integer("vocab_size");
  o.model_dim = c.integer("d_model");
  o.head_dim = c.integer("d_kv");
  o.heads = c.integer("num_heads");
  o.feed_forward_dim = c.integer("d_ff");
  o.encoder_layers = c.integer("num_layers");
  o.decoder_layers = c.integer("num_decoder_layers", o.encoder_layers);
  if (c.architecture().ends_with("EncoderModel")) o.decoder_layers = 0;
  o.buckets = c.integer("relative_attention_num_buckets", 32);
  o.max_distance = c.integer("relative_attention_max_distance", 128);
  o.norm_eps = c.number("layer_norm_epsilon", 1e-6);
  // "gated-gelu" means GELU by tanh, "gelu" the exact one.
  const std::string field = "feed_forward_proj", kind = c.text(field, "relu");
  const bool gated = kind.starts_with("gated-");
  const std::string name = gated ? kind.substr(6) : kind;
  o.activation = c.feed_forward_named(field, gated && name == "gelu" ? "gelu_new" : name, gated);
  const bool stored = b.files.find("lm_head.weight") != nullptr;
  o.scaled_output = c.boolean("scale_decoder_outputs", c.boolean("tie_word_embeddings", true));
  o.tied = !stored;
  o.dropout = 0;
  o.precision = b.precision;
  c.ignore({"dense_act_fn", "is_gated_act", "dropout_rate", "classifier_dropout", "initializer_factor",
            "n_positions", "pad_token_id", "output_past", "is_decoder"});
  ignore_common_fields(c);
  WeightTable table;
  table.rules = side("encoder", false, o.encoder_layers, o);
  for (Rule& rule : side("decoder", true, o.decoder_layers, o)) table.rules.push_back(std::move(rule));
  table.rules.push_back({"tokens.weight", {{"shared.weight"}}});
  table.rules.push_back({"output.weight", {{"lm_head.weight"}}});
  table.ignored = {"(en|de)coder\\.embed_tokens\\.weight",
                   "decoder\\.block\\.0\\.layer\\.1\\.EncDecAttention\\.relative_attention_bias\\.weight"};
  if (o.decoder_layers == 0) table.ignored.emplace_back("(decoder|lm_head)\\..*");
  Generator generator(0);
  return as_family(std::make_unique<models::T5>(o, generator), std::move(table));
}

}  // namespace headway::inline v1::hub
