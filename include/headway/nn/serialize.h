#pragma once
#include <filesystem>

#include <headway/nn/module.h>

namespace headway::inline v1::io {

/// Writes every parameter under its name to a safetensors file, atomically.
HEADWAY_API void save(const nn::Module& module, const std::filesystem::path& path);

/// Reads them back. Floating types are converted to the parameter's; all else must fit: Error(format) lists
/// names that are missing, extra or of another shape, and then nothing was changed.
HEADWAY_API void load(nn::Module& module, const std::filesystem::path& path);

}  // namespace headway::inline v1::io
