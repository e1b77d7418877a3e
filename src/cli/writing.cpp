#include "cli/writing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <headway/core/error.h>
#include <headway/text/line_reader.h>

#include "cli/options.h"
#include "cli/output.h"

namespace headway::cli {

void add_dtype(CLI::App& command, std::string& dtype) {
  command.add_option("--dtype", dtype, "Of activations and packed weights: float32 or bfloat16")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
}

hub::LoadOptions load_options(const std::string& dtype) {
  return {.precision = dtype == "bfloat16" ? DType::bfloat16 : DType::float32};
}

void add_model(CLI::App& command, std::string& model) {
  command.add_option("model", model, "A Hugging Face folder, a .gguf file, or ORG/NAME in the local cache")
      ->required();
}

void add_writing(CLI::App& command, WritingOptions& o) {
  add_number(command, "--max-tokens", o.max_tokens, whole(1), "New tokens at most (default: 256)");
  CLI::Option* temperature =
      add_number(command, "--temperature", o.temperature, from_zero(),
                 "Draw, flatter the higher; 0: the most probable token (default: the model's)");
  CLI::Option* top_k =
      add_number(command, "--top-k", o.top_k, whole(0), "Draw from the k most probable tokens; 0: all");
  CLI::Option* top_p =
      add_number(command, "--top-p", o.top_p, {.low = 0, .high = 1, .low_end = Range::End::open},
                 "Draw from the fewest tokens that hold this probability");
  CLI::Option* min_p = add_number(command, "--min-p", o.min_p, {.low = 0, .high = 1},
                                  "Draw from tokens of at least this share of the most probable one's");
  CLI::Option* seed = add_number(command, "--seed", o.seed, any_seed(), "Of the drawing");
  CLI::Option* greedy =
      command.add_flag("--greedy", o.greedy, "The most probable token, whatever the model's files say");
  for (CLI::Option* option : {temperature, top_k, top_p, min_p, seed}) greedy->excludes(option);
  add_number(command, "--repetition-penalty", o.repetition_penalty, above_zero(),
             "Divides the logits of tokens that the text has (default: the model's, 1: none)");
  add_number(command, "--presence-penalty", o.presence_penalty, {.low = -100, .high = 100},
             "Subtracted from the logits of tokens written so far");
  command.add_option("--stop", o.stop, "Ends before this text; may be given several times")
      ->allow_extra_args(false);
}

jobs::WriteOptions write_options(const WritingOptions& o, const jobs::Generator& model) {
  jobs::WriteOptions out{.generation = model.defaults(), .stop = o.stop};
  models::GenerationOptions& how = out.generation;
  if (o.max_tokens) how.max_new_tokens = *o.max_tokens;
  if (o.repetition_penalty) how.repetition_penalty = *o.repetition_penalty;
  if (o.presence_penalty) how.presence_penalty = *o.presence_penalty;
  if (o.greedy || (o.temperature && *o.temperature == 0)) {
    how.sampling.reset();
    return out;
  }
  if (o.temperature || o.top_k || o.top_p || o.min_p) {
    models::Sampling sampling = how.sampling.value_or(models::Sampling{});
    if (o.temperature) sampling.temperature = *o.temperature;
    if (o.top_k) sampling.top_k = *o.top_k;
    if (o.top_p) sampling.top_p = *o.top_p;
    if (o.min_p) sampling.min_p = *o.min_p;
    how.sampling = sampling;
  }
  if (how.sampling) how.sampling->seed = o.seed;
  return out;
}

std::vector<std::string> read_lines(const std::string& file) {
  std::vector<std::string> out;
  text::LineReader reader =
      file.empty() || file == "-" ? text::LineReader::standard_input() : text::LineReader(file);
  for (std::string line; reader.next(line);) out.push_back(line);
  return out;
}

std::string read_text(const std::string& file) {
  std::string out;
  for (const std::string& line : read_lines(file)) out += line + '\n';
  return out;
}

void tell_notes(const hub::HubModel& model) {
  if (!model.notes().empty())
    complain(fmt::format("note: config.json has fields that are not known and were passed over: {}",
                         fmt::join(model.notes(), ", ")));
}

}  // namespace headway::cli
