#pragma once
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <headway/jobs/generator.h>

#include "cli/progress.h"

// What the commands that run other people's models have in common.
namespace headway::cli {

struct WritingOptions {
  std::string model, dtype = "float32";
  jobs::WriteChoices choices;
  bool greedy = false;
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
/// The whole of `file`, or of standard input where it is "" or "-", byte for byte.
std::string read_text(const std::string& file);
/// One line on standard error for fields of the configuration that were passed over.
void tell_notes(const hub::HubModel& model);

/// How far a job has come, on standard error, once it has taken a moment. Short ones say nothing.
class JobProgress {
 public:
  explicit JobProgress(std::string label) : label_(std::move(label)) {}
  jobs::OnProgress callback();

 private:
  std::string label_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::optional<Progress> shown_;
};

}  // namespace headway::cli
