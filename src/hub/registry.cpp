#include <array>
#include <utility>

#include "hub/family.h"

namespace headway::inline v1::hub {
namespace {

constexpr std::array<std::pair<std::string_view, Build>, 20> kFamilies{{
    {"bert", &build_bert},
    {"roberta", &build_roberta},
    {"xlm-roberta", &build_roberta},
    {"camembert", &build_roberta},
    {"distilbert", &build_distilbert},
    {"albert", &build_albert},
    {"modernbert", &build_modernbert},
    {"gpt2", &build_gpt2},
    {"llama", &build_llama},
    {"mistral", &build_llama},
    {"qwen2", &build_llama},
    {"qwen3", &build_llama},
    {"gemma2", &build_llama},
    {"gemma3_text", &build_llama},
    {"olmo2", &build_llama},
    {"t5", &build_t5},
    {"bart", &build_bart},
    {"marian", &build_marian},
    {"transfo-xl", &build_transformer_xl},
    {"vit", &build_vit},
}};

}  // namespace

Build find_family(const std::string& model_type) {
  for (const auto& [name, build] : kFamilies) {
    if (name == model_type) return build;
  }
  return nullptr;
}

std::string known_families() {
  std::string out;
  for (const auto& [name, build] : kFamilies) out += (out.empty() ? "" : ", ") + std::string(name);
  return out;
}

void ignore_common_fields(Config& config) {
  config.ignore({"model_type",
                 "architectures",
                 "dtype",
                 "torch_dtype",
                 "transformers_version",
                 "_name_or_path",
                 "_commit_hash",
                 "use_cache",
                 "id2label",
                 "label2id",
                 "num_labels",
                 "problem_type",
                 "finetuning_task",
                 "tie_word_embeddings",
                 "tokenizer_class",
                 "bos_token_id",
                 "eos_token_id",
                 "pad_token_id",
                 "sep_token_id",
                 "decoder_start_token_id",
                 "forced_bos_token_id",
                 "forced_eos_token_id",
                 "is_encoder_decoder",
                 "initializer_range",
                 "initializer_factor",
                 "chunk_size_feed_forward",
                 "output_attentions",
                 "output_hidden_states",
                 "output_past",
                 "return_dict",
                 "torchscript",
                 "gradient_checkpointing",
                 "attn_implementation",
                 "_attn_implementation",
                 "task_specific_params",
                 "prefix",
                 "language",
                 "auto_map"});
  // transformers 4 removed these heads on loading; what is left has other shapes.
  if (config.has("pruned_heads") && !config.document()["pruned_heads"].empty())
    config.refuse("pruned_heads", "none: heads of different widths are not built yet");
  config.ignore({"pruned_heads"});
  config.only("quantization_config", {nullptr});
}

}  // namespace headway::inline v1::hub
