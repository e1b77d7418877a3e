#pragma once
#include <filesystem>

#include <headway/core/export.h>

namespace headway::inline v1::train {

/// Draws what a log.jsonl holds as one self-contained picture: training and validation loss, BLEU (else the
/// score) and learning rate over steps. A last, broken line of the log is passed over.
HEADWAY_API void write_curves(const std::filesystem::path& log, const std::filesystem::path& svg);

}  // namespace headway::inline v1::train
