#pragma once
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <headway/jobs/generator.h>

// What `generate`, `chat` and `classify --shots` have in common.
namespace headway::cli {

struct WritingOptions {
  std::string model, dtype = "float32";
  std::optional<std::int64_t> max_tokens, top_k;
  std::optional<double> temperature, top_p, min_p, repetition_penalty, presence_penalty;
  std::uint64_t seed = 0;
  bool greedy = false;
  std::vector<std::string> stop;
};

/// "--dtype float32|bfloat16".
void add_dtype(CLI::App& command, std::string& dtype);
hub::LoadOptions load_options(const std::string& dtype);
void add_model(CLI::App& command, std::string& model);
/// All options of how a text is written.
void add_writing(CLI::App& command, WritingOptions& options);
/// The model's own way where the command line says nothing.
jobs::WriteOptions write_options(const WritingOptions& options, const jobs::Generator& model);
/// Lines of `file`, or of standard input where it is "" or "-".
std::vector<std::string> read_lines(const std::string& file);
/// The whole of `file`, or of standard input where it is "-".
std::string read_text(const std::string& file);
/// One line on standard error for fields of the configuration that were passed over.
void tell_notes(const hub::HubModel& model);

}  // namespace headway::cli
