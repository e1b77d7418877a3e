#pragma once
#include <filesystem>
#include <string>

#include <headway/core/export.h>
#include <headway/io/gguf.h>

namespace headway::inline v1::jobs {

/// Writes a model (hub::HubModel::load's `spec`) as a Hugging Face folder: configuration, weights in their
/// own types, and the files that stood beside them (tokenizer, generation and preprocessor configuration,
/// sentence-transformers' modules), byte for byte. A GGUF file becomes a folder of float32 weights with
/// tokenizer.json. The folder must not exist yet; it appears whole or not at all.
HEADWAY_API void export_model(const std::string& spec, const std::filesystem::path& folder);

/// Writes a decoder that is built like Llama, with its tokenizer, as a GGUF file that llama.cpp loads.
/// Error(unsupported) naming what GGUF cannot say (hub::HubModel::save_gguf, text::HubTokenizer::to_gguf).
/// The file must not exist yet.
HEADWAY_API void export_gguf(const std::string& spec, const std::filesystem::path& file,
                             io::GgufEncoding encoding = io::GgufEncoding::f16);

}  // namespace headway::inline v1::jobs
