#pragma once
#include <headway/train/trainer.h>

namespace headway::inline v1::train {

/// Error(value) for what a Trainer cannot be made of.
void check_training(const Task& task, const Adam& optimizer, const TrainerOptions& options,
                    const TrainerCallbacks& callbacks);

}  // namespace headway::inline v1::train
