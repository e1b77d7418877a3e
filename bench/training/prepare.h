#pragma once
#include <filesystem>
#include <vector>

#include <headway/text/tokenizer.h>
#include <headway/train/batches.h>
#include <headway/train/translation_config.h>

/// What both sides train from: a folder with
///   config.json           the configuration, its vocabulary filled in
///   tokenizer.model       trained on the corpus
///   initial.safetensors   the weights before the first step
///   examples.safetensors  source, target (int32, one after another), source_offsets, target_offsets (int64)
///   batches.safetensors   for each step which examples make its batch: examples (int64), offsets (int64)
namespace headway::bench {

struct Job {
  train::TranslationConfig config;
  text::Tokenizer tokenizer;
  std::vector<train::Example> examples;
};

train::BatchOptions batch_options(const train::TranslationConfig& config);
/// Writes the folder from a corpus of `headway prepare`. Seed 0 keeps the configuration's.
void prepare(const std::filesystem::path& config, const std::filesystem::path& corpus,
             const std::filesystem::path& folder, std::int64_t batches, std::uint64_t seed);
Job load_job(const std::filesystem::path& folder);

}  // namespace headway::bench
