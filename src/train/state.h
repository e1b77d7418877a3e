#pragma once
#include <string>

#include <headway/train/checkpoint.h>

namespace headway::inline v1::train {

/// The text of state.json.
std::string state_text(const TrainState& state);

}  // namespace headway::inline v1::train
