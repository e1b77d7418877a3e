// BERT, RoBERTa, XLM-R, DistilBERT, ALBERT: one model under five names.
#include <headway/models/bert.h>

#include <fmt/format.h>

#include "hub/family.h"

namespace headway::inline v1::hub {
namespace {

using models::BertOptions;
using nn::HeadKind;

// A block's weights under the names that its five parts have.
struct BlockNames {
  std::string query, key, value, output, attention_norm, up, down, norm;
};

void add_block(std::vector<Rule>& rules, const BlockNames& n) {
  for (const std::string kind : {".weight", ".bias"}) {
    rules.push_back(
        {"blocks.{}.self_attention.qkv" + kind, {{n.query + kind}, {n.key + kind}, {n.value + kind}}});
    rules.push_back({"blocks.{}.self_attention.output" + kind, {{n.output + kind}}});
    rules.push_back({"blocks.{}.self_attention_norm" + kind, {{n.attention_norm + kind}}});
    rules.push_back({"blocks.{}.feed_forward.up" + kind, {{n.up + kind}}});
    rules.push_back({"blocks.{}.feed_forward.down" + kind, {{n.down + kind}}});
    rules.push_back({"blocks.{}.feed_forward_norm" + kind, {{n.norm + kind}}});
  }
}

// q, k and v are of C rows each.
std::vector<Rule> blocks(const BlockNames& names, const BertOptions& o, std::int64_t layers) {
  std::vector<Rule> rules;
  add_block(rules, names);
  for (Rule& rule : rules) {
    if (rule.sources.size() == 3) {
      for (Source& source : rule.sources) source.rows = o.model_dim;
    }
  }
  return each_layer(rules, layers);
}

void add_linear(std::vector<Rule>& rules, const std::string& ours, const std::string& theirs) {
  for (const std::string kind : {".weight", ".bias"}) rules.push_back({ours + kind, {{theirs + kind}}});
}

bool ends_with(const std::string& architecture, std::string_view task) {
  return architecture.ends_with(task);
}

// Which head an architecture's name asks for; its sizes come later.
HeadKind head_of(Config& config) {
  const std::string name = config.architecture();
  if (ends_with(name, "ForSequenceClassification")) return HeadKind::classes;
  if (ends_with(name, "ForTokenClassification")) return HeadKind::tokens;
  if (ends_with(name, "ForQuestionAnswering")) return HeadKind::spans;
  if (ends_with(name, "ForMaskedLM")) return HeadKind::masked;
  if (ends_with(name, "ForPreTraining") || ends_with(name, "ForNextSentencePrediction") ||
      ends_with(name, "ForMultipleChoice") || ends_with(name, "LMHeadModel") ||
      ends_with(name, "ForCausalLM")) {
    config.refuse("architectures",
                  "a bare model, or one for sequence or token classification, question answering "
                  "or masked tokens");
  }
  return HeadKind::none;
}

BertOptions common(Blueprint& b, const char* layers, const char* heads, const char* width,
                   const char* hidden) {
  Config& c = b.config;
  BertOptions o;
  o.vocabulary = c.integer("vocab_size");
  o.max_length = c.integer("max_position_embeddings");
  o.model_dim = c.integer(width);
  o.layers = c.integer(layers);
  o.heads = c.integer(heads);
  o.feed_forward_dim = c.integer(hidden);
  o.precision = b.precision;
  o.dropout = o.attention_dropout = 0;
  o.head.kind = head_of(c);
  o.head.width = o.model_dim;
  o.head.outputs = o.head.kind == HeadKind::spans ? 2 : o.head.kind == HeadKind::masked ? o.vocabulary : 0;
  if (o.head.kind == HeadKind::classes || o.head.kind == HeadKind::tokens) o.head.outputs = c.labels();
  c.only("is_decoder", {false});
  c.only("add_cross_attention", {false});
  c.only("position_embedding_type", {"absolute"});
  c.ignore({"classifier_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob", "pad_token_id"});
  ignore_common_fields(c);
  return o;
}

// The masked-token head: its dense layer and norm are in `transform`, its scores' matrix is the embedding or
// its own.
struct MaskedNames {
  std::string dense, norm, decoder, bias;
};
void add_masked_head(Blueprint& b, BertOptions& o, const MaskedNames& names, const std::string& prefix,
                     std::vector<Rule>& rules) {
  o.head.dense = true;
  o.head.norm = nn::NormLayerOptions{.kind = nn::NormKind::layer, .eps = o.norm_eps};
  o.head.tied = !b.has(names.decoder + ".weight", prefix) && b.config.boolean("tie_word_embeddings", true);
  add_linear(rules, "head.dense", names.dense);
  add_linear(rules, "head.norm", names.norm);
  rules.push_back({"head.output.weight", {{names.decoder + ".weight"}}});
  // Untied, transformers adds the decoder's own bias and not the head's.
  const bool own = !o.head.tied && b.has(names.decoder + ".bias", prefix);
  rules.push_back({"head.output.bias", {{own ? names.decoder + ".bias" : names.bias}}});
}

Family finish(const BertOptions& o, WeightTable table) {
  Generator generator(0);
  return as_family(std::make_unique<models::Bert>(o, generator), std::move(table));
}

Family bert_like(Blueprint& b, const std::string& prefix, BertOptions o) {
  o.types = b.config.integer("type_vocab_size", 2);
  o.activation = b.config.feed_forward("hidden_act", false, "gelu");
  o.norm_eps = b.config.number("layer_norm_eps", 1e-12);
  o.pooler = b.has(prefix + "pooler.dense.weight", prefix);
  WeightTable table{.prefix = prefix};
  const std::string e = prefix + "embeddings.", l = prefix + "encoder.layer.{}.";
  table.rules = blocks({.query = l + "attention.self.query",
                        .key = l + "attention.self.key",
                        .value = l + "attention.self.value",
                        .output = l + "attention.output.dense",
                        .attention_norm = l + "attention.output.LayerNorm",
                        .up = l + "intermediate.dense",
                        .down = l + "output.dense",
                        .norm = l + "output.LayerNorm"},
                       o, o.layers);
  table.rules.push_back({"tokens.weight", {{e + "word_embeddings.weight"}}});
  table.rules.push_back({"positions.weight", {{e + "position_embeddings.weight"}}});
  table.rules.push_back({"types.weight", {{e + "token_type_embeddings.weight"}}});
  add_linear(table.rules, "norm", e + "LayerNorm");
  add_linear(table.rules, "pooler", prefix + "pooler.dense");
  table.ignored = {"(.*\\.)?embeddings\\.position_ids", "(.*\\.)?embeddings\\.token_type_ids"};
  if (o.padding >= 0) {  // RoBERTa's heads
    if (o.head.kind == HeadKind::classes) {
      o.head_takes_pooled = false;
      o.head.dense = true;
      o.head.activation = nn::HeadActivation::tanh;
      add_linear(table.rules, "head.dense", "classifier.dense");
      add_linear(table.rules, "head.output", "classifier.out_proj");
    }
    if (o.head.kind == HeadKind::masked) {
      o.head.activation = nn::HeadActivation::gelu;
      add_masked_head(b, o, {"lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias"},
                      prefix, table.rules);
      table.ignored.emplace_back(o.head.tied ? "lm_head\\.decoder\\..*" : "lm_head\\.bias");
    }
  } else if (o.head.kind == HeadKind::classes) {
    if (!o.pooler) b.config.refuse("architectures", "weights of pooler.dense, which this head reads");
    add_linear(table.rules, "head.output", "classifier");
  } else if (o.head.kind == HeadKind::masked) {
    o.head.activation = b.config.head_activation("hidden_act", "gelu");
    add_masked_head(b, o,
                    {"cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
                     "cls.predictions.decoder", "cls.predictions.bias"},
                    prefix, table.rules);
    table.ignored.emplace_back("cls\\.seq_relationship\\..*");
    table.ignored.emplace_back(o.head.tied ? "cls\\.predictions\\.decoder\\..*" : "cls\\.predictions\\.bias");
  }
  if (o.head.kind == HeadKind::tokens) add_linear(table.rules, "head.output", "classifier");
  if (o.head.kind == HeadKind::spans) add_linear(table.rules, "head.output", "qa_outputs");
  return finish(o, std::move(table));
}

}  // namespace

Family build_bert(Blueprint& b) {
  return bert_like(b, "bert.",
                   common(b, "num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size"));
}

Family build_roberta(Blueprint& b) {
  BertOptions o = common(b, "num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size");
  o.padding = static_cast<std::int32_t>(b.config.integer("pad_token_id", 1));
  o.max_length -= o.padding + 1;
  return bert_like(b, "roberta.", o);
}

Family build_distilbert(Blueprint& b) {
  BertOptions o = common(b, "n_layers", "n_heads", "dim", "hidden_dim");
  const std::string prefix = "distilbert.";
  o.types = 0;
  o.pooler = false;
  o.head_takes_pooled = false;
  o.activation = b.config.feed_forward("activation", false, "gelu");
  b.config.ignore(
      {"sinusoidal_pos_embds", "qa_dropout", "seq_classif_dropout", "dropout", "attention_dropout"});
  WeightTable table{.prefix = prefix};
  const std::string e = prefix + "embeddings.", l = prefix + "transformer.layer.{}.";
  table.rules = blocks({.query = l + "attention.q_lin",
                        .key = l + "attention.k_lin",
                        .value = l + "attention.v_lin",
                        .output = l + "attention.out_lin",
                        .attention_norm = l + "sa_layer_norm",
                        .up = l + "ffn.lin1",
                        .down = l + "ffn.lin2",
                        .norm = l + "output_layer_norm"},
                       o, o.layers);
  table.rules.push_back({"tokens.weight", {{e + "word_embeddings.weight"}}});
  table.rules.push_back({"positions.weight", {{e + "position_embeddings.weight"}}});
  add_linear(table.rules, "norm", e + "LayerNorm");
  if (o.head.kind == HeadKind::classes) {
    o.head.dense = true;
    o.head.activation = nn::HeadActivation::relu;
    add_linear(table.rules, "head.dense", "pre_classifier");
  }
  if (o.head.kind == HeadKind::classes || o.head.kind == HeadKind::tokens)
    add_linear(table.rules, "head.output", "classifier");
  if (o.head.kind == HeadKind::spans) add_linear(table.rules, "head.output", "qa_outputs");
  if (o.head.kind == HeadKind::masked) {
    o.head.activation = b.config.head_activation("activation", "gelu");
    add_masked_head(b, o, {"vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector.bias"},
                    prefix, table.rules);
    if (o.head.tied) table.ignored.emplace_back("vocab_projector\\.weight");
  }
  table.ignored.emplace_back("(.*\\.)?embeddings\\.position_ids");
  return finish(o, std::move(table));
}

Family build_albert(Blueprint& b) {
  BertOptions o = common(b, "num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size");
  const std::string prefix = "albert.";
  const std::int64_t groups = b.config.integer("num_hidden_groups", 1),
                     inner = b.config.integer("inner_group_num", 1);
  if (groups < 1 || groups > o.layers) b.config.refuse("num_hidden_groups", "1 to num_hidden_layers");
  if (inner < 1) b.config.refuse("inner_group_num", "at least 1");
  for (std::int64_t i = 0; i < o.layers; ++i) {
    // As transformers divides: int(i / (layers / groups)).
    const auto group = static_cast<std::int64_t>(
        static_cast<double>(i) / (static_cast<double>(o.layers) / static_cast<double>(groups)));
    for (std::int64_t j = 0; j < inner; ++j) o.layer_order.push_back(group * inner + j);
  }
  b.config.ignore({"net_structure_type", "down_scale_factor", "gap_size", "num_memory_blocks",
                   "classifier_dropout_prob"});
  o.types = b.config.integer("type_vocab_size", 2);
  o.embedding_dim = b.config.integer("embedding_size");
  o.activation = b.config.feed_forward("hidden_act", false, "gelu_new");
  o.norm_eps = b.config.number("layer_norm_eps", 1e-12);
  o.pooler = b.has(prefix + "pooler.weight", prefix);
  WeightTable table{.prefix = prefix};
  const std::string e = prefix + "embeddings.", l = prefix + "encoder.albert_layer_groups.{}.";
  const std::vector<Rule> each = blocks({.query = l + "attention.query",
                                         .key = l + "attention.key",
                                         .value = l + "attention.value",
                                         .output = l + "attention.dense",
                                         .attention_norm = l + "attention.LayerNorm",
                                         .up = l + "ffn",
                                         .down = l + "ffn_output",
                                         .norm = l + "full_layer_layer_norm"},
                                        o, groups * inner);
  for (Rule rule : each) {  // block g·inner + j is layer j of group g
    const std::size_t begin = std::string("blocks.").size(), end = rule.ours.find('.', begin);
    const std::int64_t block = std::stoll(rule.ours.substr(begin, end - begin));
    for (Source& source : rule.sources) {
      const std::string was = fmt::format("albert_layer_groups.{}.", block);
      source.name.replace(
          source.name.find(was), was.size(),
          fmt::format("albert_layer_groups.{}.albert_layers.{}.", block / inner, block % inner));
    }
    table.rules.push_back(std::move(rule));
  }
  table.rules.push_back({"tokens.weight", {{e + "word_embeddings.weight"}}});
  table.rules.push_back({"positions.weight", {{e + "position_embeddings.weight"}}});
  table.rules.push_back({"types.weight", {{e + "token_type_embeddings.weight"}}});
  add_linear(table.rules, "norm", e + "LayerNorm");
  add_linear(table.rules, "projection", prefix + "encoder.embedding_hidden_mapping_in");
  add_linear(table.rules, "pooler", prefix + "pooler");
  if (o.head.kind == HeadKind::classes || o.head.kind == HeadKind::tokens)
    add_linear(table.rules, "head.output", "classifier");
  if (o.head.kind == HeadKind::spans) add_linear(table.rules, "head.output", "qa_outputs");
  if (o.head.kind == HeadKind::masked) {
    o.head.dense_width = o.embedding_dim;
    o.head.activation = b.config.head_activation("hidden_act", "gelu_new");
    add_masked_head(b, o,
                    {"predictions.dense", "predictions.LayerNorm", "predictions.decoder", "predictions.bias"},
                    prefix, table.rules);
    table.ignored.emplace_back(o.head.tied ? "predictions\\.decoder\\..*" : "predictions\\.bias");
    table.ignored.emplace_back("sop_classifier\\..*");
  }
  table.ignored.emplace_back("(.*\\.)?embeddings\\.position_ids");
  return finish(o, std::move(table));
}

}  // namespace headway::inline v1::hub
