#pragma once
#include <string>

#include <headway/text/prepared.h>

namespace headway::inline v1::text {

struct CorpusSizes {
  std::int64_t train = 0, valid = 0, test = 0;
};

std::string corpus_to_json(const CorpusInfo& info, const CorpusSizes& sizes);
/// Error(format) naming `file` and the key.
CorpusInfo corpus_from_json(const std::string& text, const std::string& file, CorpusSizes& sizes);

}  // namespace headway::inline v1::text
