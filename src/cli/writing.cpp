#include "cli/writing.h"

#include <unistd.h>

#include <cerrno>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <headway/core/error.h>
#include <headway/io/atomic_file.h>
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
  add_number(command, "--max-tokens", o.choices.max_tokens, whole(1), "New tokens at most (default: 256)");
  CLI::Option* temperature =
      add_number(command, "--temperature", o.choices.temperature, from_zero(),
                 "Draw, flatter the higher; 0: the most probable token (default: the model's)");
  CLI::Option* top_k = add_number(command, "--top-k", o.choices.top_k, whole(0),
                                  "Draw from the k most probable tokens; 0: all");
  CLI::Option* top_p =
      add_number(command, "--top-p", o.choices.top_p, {.low = 0, .high = 1, .low_end = Range::End::open},
                 "Draw from the fewest tokens that hold this probability");
  CLI::Option* min_p = add_number(command, "--min-p", o.choices.min_p, {.low = 0, .high = 1},
                                  "Draw from tokens of at least this share of the most probable one's");
  CLI::Option* seed = add_number(command, "--seed", o.choices.seed, any_seed(), "Of the drawing");
  CLI::Option* greedy =
      command.add_flag("--greedy", o.greedy, "The most probable token, whatever the model's files say");
  for (CLI::Option* option : {temperature, top_k, top_p, min_p, seed}) greedy->excludes(option);
  add_number(command, "--repetition-penalty", o.choices.repetition_penalty, above_zero(),
             "Divides the logits of tokens that the text has (default: the model's, 1: none)");
  add_number(command, "--presence-penalty", o.choices.presence_penalty, {.low = -100, .high = 100},
             "Subtracted from the logits of tokens written so far");
  command.add_option("--stop", o.choices.stop, "Ends before this text; may be given several times")
      ->allow_extra_args(false);
}

jobs::WriteOptions write_options(const WritingOptions& o, const jobs::Generator& model) {
  jobs::WriteChoices choices = o.choices;
  if (o.greedy) choices.temperature = 0;
  return model.options(choices);
}

std::vector<std::string> read_lines(const std::string& file) {
  std::vector<std::string> out;
  text::LineReader reader =
      file.empty() || file == "-" ? text::LineReader::standard_input() : text::LineReader(file);
  for (std::string line; reader.next(line);) out.push_back(line);
  return out;
}

std::string read_text(const std::string& file) {
  if (!file.empty() && file != "-") return io::read_file(file);
  constexpr std::size_t kLimit = std::size_t{1} << 30;  // as read_file() and tokenizers have it
  std::string out;
  std::vector<char> buffer(std::size_t{1} << 16);
  while (true) {
    const ssize_t got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      fail(ErrorCode::io, "standard input",
           fmt::format("cannot be read: {}", std::generic_category().message(errno)));
    }
    if (got == 0) return out;
    out.append(buffer.data(), static_cast<std::size_t>(got));
    if (out.size() > kLimit)
      fail(ErrorCode::format, "standard input", fmt::format("is longer than {} bytes", kLimit));
  }
}

jobs::OnProgress JobProgress::callback() {
  return [this](std::int64_t done, std::int64_t total) {
    constexpr auto kMoment = std::chrono::seconds(1);
    if (!shown_) {
      if (std::chrono::steady_clock::now() - start_ < kMoment || (total > 0 && done >= total)) return;
      shown_.emplace(label_);
    }
    shown_->update(done, total);
    if (total > 0 && done >= total) shown_->finish();
  };
}

void tell_notes(const hub::HubModel& model) {
  if (!model.notes().empty())
    complain(fmt::format("note: config.json has fields that are not known and were passed over: {}",
                         fmt::join(model.notes(), ", ")));
}

}  // namespace headway::cli
