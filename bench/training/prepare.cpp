#include "training/prepare.h"

#include <algorithm>

#include <headway/core/factory.h>
#include <headway/io/atomic_file.h>
#include <headway/io/safetensors.h>
#include <headway/models/transformer.h>
#include <headway/nn/serialize.h>
#include <headway/text/prepared.h>
#include <headway/train/translation.h>

namespace headway::bench {
namespace {

template <typename T>
Tensor vector_of(const std::vector<T>& values) {
  return from(values, {static_cast<std::int64_t>(values.size())});
}

template <typename T>
std::vector<T> values_of(const io::SafeTensors& file, std::string_view name) {
  for (const io::NamedTensor& each : file.tensors) {
    if (each.name != name) continue;
    const T* begin = each.tensor.data<T>();
    return {begin, begin + each.tensor.numel()};
  }
  fail(ErrorCode::format, "bench", std::string(name) + " is missing");
}

void write_examples(const std::vector<train::Example>& examples, const std::filesystem::path& path) {
  std::vector<std::int32_t> source, target;
  std::vector<std::int64_t> source_offsets{0}, target_offsets{0};
  for (const train::Example& e : examples) {
    source.insert(source.end(), e.source.begin(), e.source.end());
    target.insert(target.end(), e.target.begin(), e.target.end());
    source_offsets.push_back(static_cast<std::int64_t>(source.size()));
    target_offsets.push_back(static_cast<std::int64_t>(target.size()));
  }
  io::save_safetensors(path, {{"source", vector_of(source)},
                              {"target", vector_of(target)},
                              {"source_offsets", vector_of(source_offsets)},
                              {"target_offsets", vector_of(target_offsets)}});
}

void write_batches(train::BatchStream& stream, std::int64_t count, const std::filesystem::path& path) {
  std::vector<std::int64_t> examples, offsets{0};
  for (std::int64_t i = 0; i < count; ++i) {
    const train::Batch batch = stream.next();
    examples.insert(examples.end(), batch.examples.begin(), batch.examples.end());
    offsets.push_back(static_cast<std::int64_t>(examples.size()));
  }
  io::save_safetensors(path, {{"examples", vector_of(examples)}, {"offsets", vector_of(offsets)}});
}

}  // namespace

train::BatchOptions batch_options(const train::TranslationConfig& config) {
  return {.tokens = config.training.batch_tokens,
          .bos = text::kBos,
          .eos = text::kEos,
          .seed = config.training.seed};
}

void prepare(const std::filesystem::path& config_path, const std::filesystem::path& corpus_path,
             const std::filesystem::path& folder, std::int64_t batches, std::uint64_t seed) {
  train::TranslationConfig config =
      train::translation_config_from_json(io::read_file(config_path), config_path.string());
  if (seed > 0) config.training.seed = seed;
  const text::PreparedCorpus corpus = text::read_corpus(corpus_path);
  std::vector<std::string> sentences;
  for (const text::Pair& pair : corpus.train) {
    sentences.push_back(pair.source);
    sentences.push_back(pair.target);
  }
  const text::Tokenizer tokenizer = text::Tokenizer::train(sentences, config.tokenizer);
  config.model.source_vocab = config.model.target_vocab = tokenizer.vocab_size();
  std::vector<train::Example> examples = train::encode_pairs(tokenizer, corpus.train);
  const auto limit =
      static_cast<std::size_t>(std::min(config.model.max_length, config.training.batch_tokens / 2));
  std::erase_if(examples,
                [&](const auto& e) { return e.source.size() > limit || e.target.size() + 1 > limit; });

  io::make_folder(folder);
  io::write_file(folder / "config.json", train::to_json(config));
  tokenizer.save(folder / "tokenizer.model");
  Generator generator(config.training.seed);
  const models::Transformer model(config.model, generator);
  io::save(model, folder / "initial.safetensors");
  write_examples(examples, folder / "examples.safetensors");
  train::BatchStream stream(std::move(examples), batch_options(config));
  write_batches(stream, batches, folder / "batches.safetensors");
}

Job load_job(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  Job job{train::translation_config_from_json(io::read_file(path), path.string()),
          text::Tokenizer::load(folder / "tokenizer.model"),
          {}};
  const io::SafeTensors file = io::load_safetensors(folder / "examples.safetensors");
  const auto source = values_of<std::int32_t>(file, "source");
  const auto target = values_of<std::int32_t>(file, "target");
  const auto source_offsets = values_of<std::int64_t>(file, "source_offsets");
  const auto target_offsets = values_of<std::int64_t>(file, "target_offsets");
  for (std::size_t i = 0; i + 1 < source_offsets.size(); ++i) {
    job.examples.push_back({{source.begin() + source_offsets[i], source.begin() + source_offsets[i + 1]},
                            {target.begin() + target_offsets[i], target.begin() + target_offsets[i + 1]}});
  }
  return job;
}

}  // namespace headway::bench
