#include <headway/jobs/searcher.h>

#include <algorithm>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/text/line_reader.h>

namespace headway::inline v1::jobs {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPassageBytes = 800;  // about what a small encoder reads at once
constexpr const char* kBlank = " \t\r\f\v";

std::vector<fs::path> texts_below(const fs::path& root) {
  if (!fs::is_directory(root)) return {root};
  std::vector<fs::path> out;
  for (const auto& entry :
       fs::recursive_directory_iterator(root, fs::directory_options::skip_permission_denied)) {
    const std::string ending = entry.path().extension().string();
    if (entry.is_regular_file() && (ending == ".txt" || ending == ".md" || ending == ".rst"))
      out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

void read_passages(const fs::path& file, std::vector<Passage>& out) {
  Passage now{.file = file, .line = 0, .text = {}};
  const auto close = [&] {
    if (!now.text.empty()) out.push_back(now);
    now.text.clear();
  };
  text::LineReader reader(file);
  std::int64_t number = 0;
  for (std::string line; reader.next(line);) {
    ++number;
    const bool blank = line.find_first_not_of(kBlank) == std::string::npos;
    if (blank || now.text.size() + line.size() > kPassageBytes) close();
    if (blank) continue;
    if (now.text.empty()) now.line = number;
    now.text += (now.text.empty() ? "" : " ") + line;
  }
  close();
}

std::string prompt_of(const Embedder& embedder, const char* name) {
  return embedder.has_prompt(name) ? name : "";
}

}  // namespace

std::vector<Passage> passages_of(const fs::path& folder_or_file) {
  std::vector<Passage> out;
  for (const fs::path& file : texts_below(folder_or_file)) read_passages(file, out);
  if (out.empty()) {
    fail(ErrorCode::value, "search",
         fmt::format("{} has no text; want some in .txt, .md or .rst files", folder_or_file.string()));
  }
  return out;
}

Searcher::Searcher(const Embedder& embedder, std::vector<Passage> passages, const OnProgress& on_progress)
    : embedder_(&embedder), passages_(std::move(passages)) {
  std::vector<std::string> texts;
  for (const Passage& passage : passages_) texts.push_back(passage.text);
  rows_ = embedder(
      texts, {.normalize = true, .prompt_name = prompt_of(embedder, "document"), .on_progress = on_progress});
  cut_ = embedder.cut();
}

std::vector<Searcher::Found> Searcher::operator()(const std::string& question, std::size_t best) const {
  const Tensor asked =
      (*embedder_)({question}, {.normalize = true, .prompt_name = prompt_of(*embedder_, "query")});
  const std::int64_t width = rows_.size(1);
  std::vector<Found> found;
  for (std::size_t i = 0; i < passages_.size(); ++i) {
    const float* row = rows_.data<float>() + static_cast<std::int64_t>(i) * width;
    double score = 0;
    for (std::int64_t c = 0; c < width; ++c)
      score += static_cast<double>(row[c]) * static_cast<double>(asked.data<float>()[c]);
    found.push_back({score, i});
  }
  const std::size_t count = std::min(found.size(), best);
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count), found.end(),
                    [](const Found& a, const Found& b) {
                      return a.score != b.score ? a.score > b.score : a.passage < b.passage;
                    });
  found.resize(count);
  return found;
}

}  // namespace headway::inline v1::jobs
