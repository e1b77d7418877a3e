#pragma once
#include <headway/hub/model.h>

#include "hub/family.h"

namespace headway::inline v1::hub {

struct HubModel::Impl {
  Family family;
  Origin origin;
  std::string model_type, architecture, config, generation_config;
  GenerationDefaults generation;
  std::vector<std::string> labels, notes;
  std::string unsaid;  // of a GGUF file, what transformers would compute otherwise
  std::filesystem::path path;
};

}  // namespace headway::inline v1::hub
