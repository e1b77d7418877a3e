#include <headway/models/vit.h>

#include "hub/family.h"

namespace headway::inline v1::hub {
namespace {

// A size of one number, or of height and width.
std::pair<std::int64_t, std::int64_t> size_of_image(Config& c, const std::string& field,
                                                    std::int64_t otherwise) {
  const std::vector<std::int64_t> sizes = c.integers(field);
  if (sizes.empty()) return {otherwise, otherwise};
  if (sizes.size() > 2) c.refuse(field, "one number, or height and width");
  return {sizes.front(), sizes.back()};
}

}  // namespace

Family build_vit(Blueprint& b) {
  Config& c = b.config;
  const std::string prefix = "vit.";
  models::VitOptions o;
  std::tie(o.image_height, o.image_width) = size_of_image(c, "image_size", 224);
  std::tie(o.patch_height, o.patch_width) = size_of_image(c, "patch_size", 16);
  o.channels = c.integer("num_channels", 3);
  o.model_dim = c.integer("hidden_size");
  o.heads = c.integer("num_attention_heads");
  o.layers = c.integer("num_hidden_layers");
  o.feed_forward_dim = c.integer("intermediate_size");
  o.activation = c.feed_forward("hidden_act", false, "gelu");
  o.norm_eps = c.number("layer_norm_eps", 1e-12);
  o.qkv_bias = c.boolean("qkv_bias", true);
  o.precision = b.precision;
  o.pooler = b.has(prefix + "pooler.dense.weight", prefix);
  if (o.pooler) {
    o.pooler_activation = c.head_activation("pooler_act", "tanh");
    o.pooler_width = c.integer("pooler_output_size", o.model_dim);
  }
  c.ignore({"encoder_stride", "pooler_act", "pooler_output_size", "hidden_dropout_prob",
            "attention_probs_dropout_prob"});
  ignore_common_fields(c);
  WeightTable table{.prefix = prefix};
  const std::string l = prefix + "encoder.layer.{}.";
  std::vector<Rule> rules;
  for (const std::string kind : {".weight", ".bias"}) {
    const std::string a = l + "attention.attention.";
    rules.push_back({"blocks.{}.self_attention.qkv" + kind,
                     {{.name = a + "query" + kind, .rows = o.model_dim},
                      {.name = a + "key" + kind, .rows = o.model_dim},
                      {.name = a + "value" + kind, .rows = o.model_dim}}});
    rules.push_back({"blocks.{}.self_attention.output" + kind, {{l + "attention.output.dense" + kind}}});
    rules.push_back({"blocks.{}.self_attention_norm" + kind, {{l + "layernorm_before" + kind}}});
    rules.push_back({"blocks.{}.feed_forward.up" + kind, {{l + "intermediate.dense" + kind}}});
    rules.push_back({"blocks.{}.feed_forward.down" + kind, {{l + "output.dense" + kind}}});
    rules.push_back({"blocks.{}.feed_forward_norm" + kind, {{l + "layernorm_after" + kind}}});
  }
  table.rules = each_layer(rules, o.layers);
  const std::string e = prefix + "embeddings.";
  const std::int64_t rows = 1 + o.image_height / o.patch_height * (o.image_width / o.patch_width);
  table.rules.push_back({"class_row", {{e + "cls_token"}}, false, {1, 1, o.model_dim}});
  table.rules.push_back({"positions", {{e + "position_embeddings"}}, false, {1, rows, o.model_dim}});
  table.rules.push_back({"projection.weight",
                         {{e + "patch_embeddings.projection.weight"}},
                         false,
                         {o.model_dim, o.channels, o.patch_height, o.patch_width}});
  table.rules.push_back({"projection.bias", {{e + "patch_embeddings.projection.bias"}}});
  for (const std::string kind : {".weight", ".bias"}) {
    table.rules.push_back({"blocks.norm" + kind, {{prefix + "layernorm" + kind}}});
    table.rules.push_back({"pooler" + kind, {{prefix + "pooler.dense" + kind}}});
    table.rules.push_back({"head.output" + kind, {{"classifier" + kind}}});
  }
  const std::string architecture = c.architecture();
  if (architecture.ends_with("ForImageClassification"))
    o.head = {.kind = nn::HeadKind::classes, .width = o.model_dim, .outputs = c.labels()};
  if (architecture.ends_with("ForMaskedImageModeling"))
    c.refuse("architectures", "a bare model or one for image classification");
  table.ignored = {"(vit\\.)?embeddings\\.mask_token"};
  Generator generator(0);
  return as_family(std::make_unique<models::Vit>(o, generator), std::move(table));
}

}  // namespace headway::inline v1::hub
