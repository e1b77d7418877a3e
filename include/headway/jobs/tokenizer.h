#pragma once
#include <string>

#include <headway/text/hub_tokenizer.h>

namespace headway::inline v1::jobs {

/// The tokenizer of a model: `spec` as hub::HubModel::load takes it, or one of the files that
/// text::HubTokenizer::load reads. Error(io) where there is none.
HEADWAY_API text::HubTokenizer load_tokenizer(const std::string& spec);

}  // namespace headway::inline v1::jobs
