#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <headway/core/export.h>
#include <headway/text/corpus.h>

namespace headway::inline v1::text {

struct SplitOptions {
  double test = 0.055;  ///< share of documents held out for testing
  double valid = 0.02;  ///< share of documents held out for validation
  double max_similarity =
      0.6;                ///< held-out sentences this similar (similarity.h) to a training one are dropped
  std::string salt = {};  ///< another salt, another split
};

struct Split {
  Pairs train;
  Pairs valid;
  Pairs test;
  std::vector<std::string> valid_documents;  ///< sorted; all pages drawn, also those left without a sentence
  std::vector<std::string> test_documents;
  std::int64_t duplicates = 0;  ///< pairs that occur again in their own set
  std::int64_t seen = 0;        ///< held-out pairs with a side that occurs in training, folded
  std::int64_t identical = 0;   ///< held-out pairs with equal sides, folded: names, which test nothing
  std::int64_t similar = 0;     ///< held-out pairs with a side too similar to a training sentence
};

/// Where a document falls, in [0, 1): FNV-1a (64 bits) of salt followed by name, mixed by MurmurHash3's
/// finaliser, its upper 53 bits as a fraction. Below `test` it is a test document, below `test + valid` a
/// validation document. It depends on the name alone, so a page keeps its place when other pages come or go.
HEADWAY_API double document_position(std::string_view name, std::string_view salt = {});

/// Cuts a corpus by whole documents and frees the held-out sets from whatever training has seen. A pair that
/// occurs in a training document is a training pair. max_similarity > 1 keeps what is merely similar; see
/// also `seen`.
HEADWAY_API Split split_by_document(const Pairs& pairs, const SplitOptions& options = {});

/// For every test source, the translation of the most similar training source (similarity.h): what a system
/// that only looks up scores. Empty where nothing shares a word.
HEADWAY_API std::vector<std::string> nearest_copy_baseline(const Pairs& train, const Pairs& test);

}  // namespace headway::inline v1::text
