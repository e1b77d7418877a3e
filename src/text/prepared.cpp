#include <fmt/format.h>
#include <unistd.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>
#include <headway/text/prepared.h>
#include <headway/text/readers.h>

#include "text/corpus_json.h"
#include "text/file.h"
#include "text/lines.h"

namespace headway::inline v1::text {
namespace {

namespace fs = std::filesystem;
constexpr const char* kWrite = "write corpus";
constexpr const char* kRead = "read corpus";

std::string table_of(const Pairs& pairs) {
  std::string table;
  for (const Pair& pair : pairs) {
    for (const std::string* side : {&pair.source, &pair.target}) {
      if (side->find_first_of("\t\n\r") != std::string::npos || side->find('\0') != std::string::npos) {
        fail(ErrorCode::value, kWrite,
             fmt::format("sentence {} has a tab, line end or NUL; want clean() text", quoted(*side)));
      }
    }
    table += pair.source;
    table += '\t';
    table += pair.target;
    table += '\n';
  }
  return table;
}

std::string list_of(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += name + '\n';
  return list;
}

void require(const std::error_code& code, const fs::path& path, std::string_view what) {
  if (code)
    fail(ErrorCode::io, kWrite, fmt::format("{} cannot be {}: {}", path.string(), what, code.message()));
}

// The folder's name without a trailing slash, so that a sibling can be named after it.
fs::path tidy(const fs::path& folder) {
  const fs::path normal = fs::absolute(folder).lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

void move_into_place(const fs::path& built, const fs::path& folder) {
  std::error_code code;
  if (!fs::exists(folder)) {
    fs::rename(built, folder, code);
    require(code, folder, "created");
  } else {
    fs::path old = folder;
    old += fmt::format(".{}.old", ::getpid());
    fs::rename(folder, old, code);
    require(code, folder, "moved aside");
    fs::rename(built, folder, code);
    if (code) {
      std::error_code ignored;
      fs::rename(old, folder, ignored);
      require(code, folder, "replaced");
    }
    fs::remove_all(old, code);
  }
  sync_folder(folder.parent_path(), kWrite);
}

Pairs read_part(const fs::path& file, std::int64_t wanted) {
  Pairs pairs = read_tsv(file, {.max_line_bytes = 1 << 20});
  if (static_cast<std::int64_t>(pairs.size()) != wanted) {
    fail(ErrorCode::format, kRead,
         fmt::format("{} has {} pairs; want {}, as corpus.json says", file.string(), pairs.size(), wanted));
  }
  for (Pair& pair : pairs) pair.document.clear();
  return pairs;
}

}  // namespace

void write_corpus(const fs::path& folder, const Split& split, CorpusInfo info) {
  const fs::path target = tidy(folder);
  if (fs::exists(target) && !fs::exists(target / "corpus.json")) {
    fail(ErrorCode::io, kWrite,
         fmt::format("{} exists and is no prepared corpus; want a new name, or remove it", target.string()));
  }
  info.duplicates = split.duplicates;
  info.identical = split.identical;
  info.seen = split.seen;
  info.similar = split.similar;
  const CorpusSizes sizes{static_cast<std::int64_t>(split.train.size()),
                          static_cast<std::int64_t>(split.valid.size()),
                          static_cast<std::int64_t>(split.test.size())};
  std::error_code code;
  fs::create_directories(target.parent_path(), code);
  require(code, target.parent_path(), "created");
  fs::path built = target;
  built += fmt::format(".{}.tmp", ::getpid());
  try {
    fs::remove_all(built, code);
    fs::create_directory(built, code);
    require(code, built, "created");
    write_file_synced(built / "train.tsv", table_of(split.train), kWrite);
    write_file_synced(built / "valid.tsv", table_of(split.valid), kWrite);
    write_file_synced(built / "test.tsv", table_of(split.test), kWrite);
    write_file_synced(built / "valid-documents.txt", list_of(split.valid_documents), kWrite);
    write_file_synced(built / "test-documents.txt", list_of(split.test_documents), kWrite);
    write_file_synced(built / "corpus.json", corpus_to_json(info, sizes), kWrite);
    sync_folder(built, kWrite);
    move_into_place(built, target);
  } catch (...) {
    fs::remove_all(built, code);
    throw;
  }
}

PreparedCorpus read_corpus(const fs::path& folder) {
  CorpusSizes sizes;
  PreparedCorpus corpus;
  const fs::path json = folder / "corpus.json";
  corpus.info = corpus_from_json(read_file(json, kRead), json.string(), sizes);
  corpus.train = read_part(folder / "train.tsv", sizes.train);
  corpus.valid = read_part(folder / "valid.tsv", sizes.valid);
  corpus.test = read_part(folder / "test.tsv", sizes.test);
  corpus.valid_documents = read_lines(folder / "valid-documents.txt", kRead, 1 << 16);
  corpus.test_documents = read_lines(folder / "test-documents.txt", kRead, 1 << 16);
  return corpus;
}

}  // namespace headway::inline v1::text
