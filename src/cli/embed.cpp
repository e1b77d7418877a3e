#include <algorithm>
#include <filesystem>
#include <memory>

#include <fmt/format.h>

#include <headway/io/atomic_file.h>
#include <headway/jobs/embedder.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/writing.h"

namespace headway::cli {
namespace {

struct Options {
  std::string model, input, out, dtype = "float32", prompt;
  std::vector<std::string> texts;
  bool raw = false;
};

// NumPy's format, version 1.0: a header padded to 64 bytes, then the rows.
std::string npy(const Tensor& rows) {
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}",
                                   rows.size(0), rows.size(1));
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 0xFF);
  out += static_cast<char>(header.size() >> 8);
  out += header;
  out.append(reinterpret_cast<const char*>(rows.data<float>()),
             static_cast<std::size_t>(rows.numel()) * sizeof(float));
  return out;
}

void run(const Options& o) {
  const jobs::Embedder embed(o.model, load_options(o.dtype));
  tell_notes(embed.model());
  const std::vector<std::string> texts = o.texts.empty() ? read_lines(o.input) : o.texts;
  jobs::EmbedOptions how{.prompt_name = o.prompt};
  if (o.raw) how.normalize = false;
  const Tensor rows = embed(texts, how);
  if (embed.cut() > 0)
    complain(fmt::format("{} of {} texts have more than {} tokens and were cut", embed.cut(), texts.size(),
                         embed.max_length()));
  if (!o.out.empty()) return io::write_file(o.out, npy(rows));
  for (std::int64_t r = 0; r < rows.size(0); ++r) {
    nlohmann::ordered_json values = nlohmann::ordered_json::array();
    for (std::int64_t c = 0; c < rows.size(1); ++c)
      values.push_back(rows.data<float>()[r * rows.size(1) + c]);
    put_json({{"text", texts[static_cast<std::size_t>(r)]}, {"embedding", values}});
  }
}

struct SearchOptions {
  std::string model, folder, question, dtype = "float32";
  std::int64_t best = 5;
  bool json = false;
};

// A passage of a file: some lines around an empty one.
struct Passage {
  std::string file, text;
  std::int64_t line = 0;
};

constexpr std::size_t kPassageBytes = 800;  // about what a small encoder reads at once

std::vector<Passage> passages_of(const std::filesystem::path& root) {
  std::vector<std::filesystem::path> files;
  if (std::filesystem::is_directory(root)) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             root, std::filesystem::directory_options::skip_permission_denied)) {
      const std::string ending = entry.path().extension().string();
      if (entry.is_regular_file() && (ending == ".txt" || ending == ".md" || ending == ".rst"))
        files.push_back(entry.path());
    }
  } else {
    files.push_back(root);
  }
  std::sort(files.begin(), files.end());
  std::vector<Passage> out;
  for (const std::filesystem::path& file : files) {
    Passage now{.file = file.string(), .text = {}, .line = 1};
    std::int64_t number = 0;
    const auto close = [&] {
      if (now.text.find_first_not_of(" \t") != std::string::npos) out.push_back(now);
      now.text.clear();
      now.line = number + 1;
    };
    for (const std::string& line : read_lines(file.string())) {
      ++number;
      if (line.find_first_not_of(" \t") == std::string::npos || now.text.size() > kPassageBytes) close();
      if (!line.empty()) now.text += (now.text.empty() ? "" : " ") + line;
    }
    ++number;
    close();
  }
  return out;
}

void search(const SearchOptions& o) {
  const jobs::Embedder embed(o.model, load_options(o.dtype));
  tell_notes(embed.model());
  const std::vector<Passage> passages = passages_of(o.folder);
  if (passages.empty())
    fail(ErrorCode::value, "search", fmt::format("{} holds no text (.txt, .md, .rst)", o.folder));
  std::vector<std::string> texts;
  for (const Passage& passage : passages) texts.push_back(passage.text);
  const Tensor rows = embed(texts, {.normalize = true}), question = embed({o.question}, {.normalize = true});
  std::vector<std::pair<double, std::size_t>> found;
  for (std::size_t i = 0; i < passages.size(); ++i) {
    double score = 0;
    for (std::int64_t c = 0; c < rows.size(1); ++c) {
      score += static_cast<double>(rows.data<float>()[static_cast<std::int64_t>(i) * rows.size(1) + c]) *
               static_cast<double>(question.data<float>()[c]);
    }
    found.emplace_back(-score, i);
  }
  const std::size_t count = std::min(found.size(), static_cast<std::size_t>(o.best));
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count), found.end());
  for (std::size_t i = 0; i < count; ++i) {
    const Passage& passage = passages[found[i].second];
    if (o.json) {
      put_json({{"score", -found[i].first},
                {"file", passage.file},
                {"line", passage.line},
                {"text", passage.text}});
    } else {
      put("{:.4f}  {}:{}\n        {}\n", -found[i].first, passage.file, passage.line, passage.text);
    }
  }
}

}  // namespace

void add_embed_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("embed", "Texts to vectors: arguments, or lines of a file or of standard input");
  const auto o = std::make_shared<Options>();
  add_model(*command, o->model);
  CLI::Option* texts = add_texts(*command, "texts", o->texts, "Texts to embed");
  command->add_option("--input", o->input, "File with one text a line (default: standard input)")
      ->excludes(texts);
  command->add_option("--out", o->out, "Write a .npy file, float32 [texts, width], in place of JSON lines");
  command->add_option("--prompt", o->prompt, "Name of one of the model's prompts, put before every text");
  command->add_flag("--raw", o->raw, "Do not normalize, even where the model's files say so");
  add_dtype(*command, o->dtype);
  command->callback([o] { run(*o); });
}

void add_search_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("search", "The passages of a folder of text that are closest to a question");
  const auto o = std::make_shared<SearchOptions>();
  add_model(*command, o->model);
  command->add_option("folder", o->folder, "Folder with .txt, .md and .rst files, or one file")->required();
  command->add_option("question", o->question, "What to look for")->required();
  add_number(*command, "--best", o->best, whole(1), "Passages to show");
  add_dtype(*command, o->dtype);
  command->add_flag("--json", o->json, "One JSON object a passage");
  command->callback([o] { search(*o); });
}

}  // namespace headway::cli
