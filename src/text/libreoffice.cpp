#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include <headway/core/error.h>
#include <headway/core/parallel.h>
#include <headway/text/readers.h>

#include "text/file.h"
#include "text/html.h"
#include "text/sentences.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

namespace fs = std::filesystem;
constexpr const char* kOperation = "read LibreOffice help";

// Sorted, since the order in which a folder is listed differs from machine to machine.
std::vector<std::string> list_pages(const fs::path& root) {
  std::error_code code;
  if (!fs::is_directory(root / "text", code)) {
    fail(ErrorCode::io, kOperation,
         fmt::format("{} has no folder text/; want a help tree such as usr/share/libreoffice/help/de",
                     root.string()));
  }
  std::vector<std::string> pages;
  for (const auto& entry : fs::recursive_directory_iterator(root / "text")) {
    if (entry.is_regular_file() && entry.path().extension() == ".html") {
      pages.push_back(entry.path().lexically_relative(root).generic_string());
    }
  }
  std::sort(pages.begin(), pages.end());
  return pages;
}

std::vector<Block> read_page(const fs::path& file) {
  const std::string html = read_file(file, kOperation);
  require_utf8(html, kOperation, file.string());
  return help_blocks(html);
}

// Tag, id and how often that pair has been before: pages repeat an id where they embed another page's
// section.
using Key = std::tuple<std::string, std::string, int>;

std::vector<Key> keys_of(const std::vector<Block>& blocks) {
  std::map<std::pair<std::string, std::string>, int> seen;
  std::vector<Key> keys;
  for (const Block& block : blocks) keys.emplace_back(block.tag, block.id, seen[{block.tag, block.id}]++);
  return keys;
}

struct Page {
  Pairs pairs;
  HelpCounts counts;
};

void add_pair(Page& page, const std::string& name, const std::string& source, const std::string& target) {
  page.pairs.push_back({source, target, name});
}

void pair_blocks(Page& page, const std::string& name, const HelpOptions& options, const Block& source,
                 const Block& target) {
  if (source.lines.empty() || target.lines.empty()) return;
  ++page.counts.paragraphs;
  const auto sentences_of = [](const Block& block, const std::string& language) {
    std::vector<std::string> sentences;
    for (const std::string& line : block.lines) {
      for (std::string& sentence : split_sentences(line, language)) sentences.push_back(std::move(sentence));
    }
    return sentences;
  };
  const auto a = sentences_of(source, options.source_language);
  const auto b = sentences_of(target, options.target_language);
  if (a.size() == b.size()) {
    page.counts.split_paragraphs += a.size() > 1;
    for (std::size_t i = 0; i < a.size(); ++i) add_pair(page, name, a[i], b[i]);
    return;
  }
  ++page.counts.whole_paragraphs;
  add_pair(page, name, fmt::format("{}", fmt::join(source.lines, " ")),
           fmt::format("{}", fmt::join(target.lines, " ")));
}

Page pair_page(const fs::path& source_root, const fs::path& target_root, const std::string& name,
               const HelpOptions& options) {
  Page page;
  page.counts.pages = 1;
  const auto source = read_page(source_root / name);
  const auto target = read_page(target_root / name);
  const auto source_keys = keys_of(source);
  const auto target_keys = keys_of(target);
  if (source_keys == target_keys) {
    for (std::size_t i = 0; i < source.size(); ++i) pair_blocks(page, name, options, source[i], target[i]);
    return page;
  }
  page.counts.reordered_pages = 1;
  std::map<Key, const Block*> by_key;
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (!target[i].id.empty()) by_key.emplace(target_keys[i], &target[i]);
  }
  for (std::size_t i = 0; i < source.size(); ++i) {
    const auto found = by_key.find(source_keys[i]);
    if (found == by_key.end()) {
      ++page.counts.unpaired;
    } else {
      pair_blocks(page, name, options, source[i], *found->second);
    }
  }
  return page;
}

}  // namespace

Pairs read_libreoffice_help(const fs::path& source_root, const fs::path& target_root,
                            const HelpOptions& options, HelpCounts* counts) {
  const auto source_pages = list_pages(source_root);
  const auto target_pages = list_pages(target_root);
  std::vector<std::string> names;
  std::set_intersection(source_pages.begin(), source_pages.end(), target_pages.begin(), target_pages.end(),
                        std::back_inserter(names));
  if (names.empty()) {
    fail(ErrorCode::format, kOperation,
         fmt::format("{} and {} have no page in common; want two languages of one version",
                     source_root.string(), target_root.string()));
  }
  std::vector<Page> pages(names.size());
  core::parallel_for(static_cast<std::int64_t>(names.size()), [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    pages[at] = pair_page(source_root, target_root, names[at], options);
  });
  Pairs pairs;
  HelpCounts total;
  for (Page& page : pages) {
    std::move(page.pairs.begin(), page.pairs.end(), std::back_inserter(pairs));
    total.pages += page.counts.pages;
    total.reordered_pages += page.counts.reordered_pages;
    total.paragraphs += page.counts.paragraphs;
    total.unpaired += page.counts.unpaired;
    total.split_paragraphs += page.counts.split_paragraphs;
    total.whole_paragraphs += page.counts.whole_paragraphs;
  }
  if (counts != nullptr) *counts = total;
  return pairs;
}

}  // namespace headway::inline v1::text
