#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <headway/core/export.h>
#include <headway/text/corpus.h>
#include <headway/text/split.h>

namespace headway::inline v1::text {

inline constexpr int kCorpusFormatVersion = 1;

/// Where a corpus comes from and how it was made: `corpus.json` of a prepared folder.
struct CorpusInfo {
  std::string name;             ///< "LibreOffice help"
  std::string source_language;  ///< "en-US"
  std::string target_language;
  std::string licence;                                        ///< "MPL-2.0"
  std::vector<std::pair<std::string, std::string>> packages;  ///< name and version, or file and its checksum
  CleanOptions clean;
  CleanCounts cleaned;
  SplitOptions split;
  std::int64_t duplicates = 0, identical = 0, seen = 0, similar = 0;  ///< as in Split
};

struct PreparedCorpus {
  CorpusInfo info;
  Pairs train, valid, test;  ///< documents are not stored with the pairs
  std::vector<std::string> valid_documents, test_documents;
};

/// Writes train.tsv, valid.tsv, test.tsv (source TAB target), valid-documents.txt, test-documents.txt and
/// corpus.json to a new folder: built under a temporary name, synced, renamed. A prepared corpus that stands
/// there is replaced; any other folder or file is an Error(io).
HEADWAY_API void write_corpus(const std::filesystem::path& folder, const Split& split, CorpusInfo info);

/// Error(format) for a damaged folder: counts that do not fit, unknown keys, a newer format_version.
HEADWAY_API PreparedCorpus read_corpus(const std::filesystem::path& folder);

}  // namespace headway::inline v1::text
