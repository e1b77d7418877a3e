#pragma once
#include <memory>
#include <string>
#include <type_traits>

#include <headway/core/generator.h>
#include <headway/models/encoder.h>
#include <headway/models/language_model.h>

#include "hub/config.h"
#include "hub/weights.h"

namespace headway::inline v1::hub {

/// A model of a family, without weights yet, and where they come from.
struct Family {
  std::unique_ptr<nn::Module> module;
  models::LanguageModel* language_model = nullptr;  ///< the module, seen as one
  models::Encoder* encoder = nullptr;
  WeightTable table;
};

/// What a family's builder is given.
struct Blueprint {
  Config& config;
  const io::StoredTensors& files;
  DType precision = DType::float32;
  /// Whether a tensor is there, with or without the prefix.
  bool has(const std::string& name, const std::string& prefix) const {
    return files.find(name) || (name.starts_with(prefix) && files.find(name.substr(prefix.size())));
  }
};

using Build = Family (*)(Blueprint&);
/// The builder for a `model_type`; null where there is none.
Build find_family(const std::string& model_type);
/// All names of model_type, for messages.
std::string known_families();

Family build_bert(Blueprint& b);
Family build_roberta(Blueprint& b);
Family build_distilbert(Blueprint& b);
Family build_albert(Blueprint& b);
Family build_modernbert(Blueprint& b);
Family build_gpt2(Blueprint& b);
Family build_llama(Blueprint& b);
Family build_t5(Blueprint& b);
Family build_bart(Blueprint& b);
Family build_marian(Blueprint& b);
Family build_transformer_xl(Blueprint& b);
Family build_vit(Blueprint& b);

/// Fields of every config.json that change nothing in evaluation.
void ignore_common_fields(Config& config);

/// A module as a family.
template <typename Model>
Family as_family(std::unique_ptr<Model> model, WeightTable table) {
  Family family;
  if constexpr (std::is_base_of_v<models::LanguageModel, Model>) family.language_model = model.get();
  if constexpr (std::is_base_of_v<models::Encoder, Model>) family.encoder = model.get();
  family.module = std::move(model);
  family.table = std::move(table);
  return family;
}

}  // namespace headway::inline v1::hub
