#include <headway/models/transformer_xl.h>

#include <fmt/format.h>

#include "hub/family.h"

namespace headway::inline v1::hub {

Family build_transformer_xl(Blueprint& b) {
  Config& c = b.config;
  const std::string prefix = "transformer.";
  models::TransformerXlOptions o;
  o.vocabulary = c.integer(c.first_of({"vocab_size", "n_token", "vocab_size_or_config_json_file"}));
  o.cutoffs = c.integers("cutoffs");
  if (!o.cutoffs.empty() && o.cutoffs.back() == o.vocabulary) o.cutoffs.pop_back();
  o.model_dim = c.integer("d_model");
  o.embedding_dim = c.integer("d_embed");
  o.heads = c.integer("n_head");
  o.head_dim = c.integer("d_head");
  o.feed_forward_dim = c.integer("d_inner");
  o.layers = c.integer("n_layer");
  o.divisor = c.integer("div_val", 1);
  o.memory = c.integer("mem_len", 0);
  o.clamp = c.integer("clamp_len", 0);
  o.same_length = c.boolean("same_length", false);
  o.shared_biases = !c.boolean("untie_r", true);
  o.tied = c.boolean("tie_weight", true);
  o.norm_eps = c.number("layer_norm_epsilon", 1e-5);
  o.dropout = 0;
  if (o.clamp < 0) o.clamp = 0;
  if (c.has("tie_projs")) {
    const auto& list = c.at("tie_projs");
    for (std::size_t i = 0; list.is_array() && i < list.size(); ++i)
      o.tied_projections.push_back(list[i].is_boolean() ? list[i].get<bool>() : true);
  } else {
    o.tied_projections.assign(o.cutoffs.size() + 1, true);
    o.tied_projections[0] = false;
  }
  o.pre_norm = c.boolean("pre_lnorm", false);
  c.only("attn_type", {0});
  c.only("adaptive", {true});
  c.only("sample_softmax", {-1, 0});
  c.only("ext_len", {0});
  c.ignore({"tgt_len", "eval_batch_size", "dropout", "dropatt", "init", "init_range", "proj_init_std",
            "init_std", "eos_token_id", "num_labels", "proj_share_all_but_first"});
  if (b.precision != DType::float32) c.refuse("dtype", "float32: Transformer-XL is not built for bfloat16");
  ignore_common_fields(c);

  WeightTable table{.prefix = prefix};
  const std::string l = prefix + "layers.{}.";
  std::vector<Rule> rules{
      {"blocks.{}.self_attention.qkv.weight", {{l + "dec_attn.qkv_net.weight"}}},
      {"blocks.{}.self_attention.output.weight", {{l + "dec_attn.o_net.weight"}}},
      {"relative.{}.weight", {{l + "dec_attn.r_net.weight"}}},
      {"relative.{}.content_bias", {{l + "dec_attn.r_w_bias"}}},
      {"relative.{}.position_bias", {{l + "dec_attn.r_r_bias"}}},
  };
  for (const std::string kind : {".weight", ".bias"}) {
    rules.push_back({"blocks.{}.self_attention_norm" + kind, {{l + "dec_attn.layer_norm" + kind}}});
    rules.push_back({"blocks.{}.feed_forward.up" + kind, {{l + "pos_ff.CoreNet.0" + kind}}});
    rules.push_back({"blocks.{}.feed_forward.down" + kind, {{l + "pos_ff.CoreNet.3" + kind}}});
    rules.push_back({"blocks.{}.feed_forward_norm" + kind, {{l + "pos_ff.layer_norm" + kind}}});
  }
  table.rules = each_layer(rules, o.layers);
  table.rules.push_back({"relative.content_bias", {{prefix + "r_w_bias"}}});
  table.rules.push_back({"relative.position_bias", {{prefix + "r_r_bias"}}});
  for (std::size_t i = 0; i <= o.cutoffs.size(); ++i) {
    const std::string ours = fmt::format("clusters.{}.", i);
    table.rules.push_back({ours + "table", {{fmt::format("{}word_emb.emb_layers.{}.weight", prefix, i)}}});
    table.rules.push_back({ours + "projection", {{fmt::format("{}word_emb.emb_projs.{}", prefix, i)}}});
    table.rules.push_back({ours + "output_table", {{fmt::format("crit.out_layers.{}.weight", i)}}});
    table.rules.push_back({ours + "output_projection", {{fmt::format("crit.out_projs.{}", i)}}});
    table.rules.push_back({ours + "bias", {{fmt::format("crit.out_layers.{}.bias", i)}}});
    // What is tied stands in the file twice.
    if (o.tied) table.ignored.push_back(fmt::format("crit\\.out_layers\\.{}\\.weight", i));
    if (i < o.tied_projections.size() && o.tied_projections[i])
      table.ignored.push_back(fmt::format("crit\\.out_projs\\.{}", i));
  }
  table.rules.push_back({"cluster_weight", {{"crit.cluster_weight"}}});
  table.rules.push_back({"cluster_bias", {{"crit.cluster_bias"}}});
  table.ignored.emplace_back("(transformer\\.)?pos_emb\\.inv_freq");
  Generator generator(0);
  return as_family(std::make_unique<models::TransformerXl>(o, generator), std::move(table));
}

}  // namespace headway::inline v1::hub
