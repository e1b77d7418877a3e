#include <headway/models/gpt2.h>

#include "hub/family.h"

namespace headway::inline v1::hub {

Family build_gpt2(Blueprint& b) {
  Config& c = b.config;
  const std::string prefix = "transformer.";
  models::Gpt2Options o;
  o.vocabulary = c.integer("vocab_size");
  o.max_length = c.integer("n_positions", 1024);
  o.model_dim = c.integer("n_embd");
  o.heads = c.integer("n_head");
  o.layers = c.integer("n_layer");
  o.feed_forward_dim = c.integer("n_inner", 4 * o.model_dim);
  o.activation = c.feed_forward("activation_function", false, "gelu_new");
  o.norm_eps = c.number("layer_norm_epsilon", 1e-5);
  o.scaled_attention = c.boolean("scale_attn_weights", true);
  o.scaled_by_layer = c.boolean("scale_attn_by_inverse_layer_idx", false);
  // A model without a head has no matrix of its own for it, whatever the field says.
  const bool bare = c.architecture() == "GPT2Model";
  o.tied = !b.has("lm_head.weight", prefix) && (c.boolean("tie_word_embeddings", true) || bare);
  o.precision = b.precision;
  o.dropout = o.attention_dropout = 0;
  c.only("add_cross_attention", {false});
  c.ignore({"n_ctx", "reorder_and_upcast_attn", "attn_pdrop", "embd_pdrop", "resid_pdrop",
            "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
            "summary_use_proj", "pad_token_id"});
  ignore_common_fields(c);

  WeightTable table{.prefix = prefix};
  const std::string l = prefix + "h.{}.";
  std::vector<Rule> rules;
  for (const std::string kind : {".weight", ".bias"}) {
    const bool matrix = kind == ".weight";  // Conv1D holds them as [inputs, outputs]
    rules.push_back({"blocks.{}.self_attention_norm" + kind, {{l + "ln_1" + kind}}});
    rules.push_back({"blocks.{}.self_attention.qkv" + kind, {{l + "attn.c_attn" + kind}}, matrix});
    rules.push_back({"blocks.{}.self_attention.output" + kind, {{l + "attn.c_proj" + kind}}, matrix});
    rules.push_back({"blocks.{}.feed_forward_norm" + kind, {{l + "ln_2" + kind}}});
    rules.push_back({"blocks.{}.feed_forward.up" + kind, {{l + "mlp.c_fc" + kind}}, matrix});
    rules.push_back({"blocks.{}.feed_forward.down" + kind, {{l + "mlp.c_proj" + kind}}, matrix});
  }
  table.rules = each_layer(rules, o.layers);
  table.rules.push_back({"tokens.weight", {{prefix + "wte.weight"}}});
  table.rules.push_back({"positions.weight", {{prefix + "wpe.weight"}}});
  table.rules.push_back({"blocks.norm.weight", {{prefix + "ln_f.weight"}}});
  table.rules.push_back({"blocks.norm.bias", {{prefix + "ln_f.bias"}}});
  table.rules.push_back({"output.weight", {{"lm_head.weight"}}});
  table.ignored = {"(transformer\\.)?h\\.\\d+\\.attn\\.(masked_)?bias"};
  Generator generator(0);
  return as_family(std::make_unique<models::Gpt2>(o, generator), std::move(table));
}

}  // namespace headway::inline v1::hub
