#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <headway/core/export.h>

namespace headway::inline v1::train {

/// How many items a set of data has, and a hash of their bytes and order (FNV-1a, 64 bits): enough to tell
/// that a run is resumed with other data, not to defend against someone who wants to deceive.
struct Fingerprint {
  std::int64_t items = 0;
  std::uint64_t hash = 0xcbf29ce484222325u;
  HEADWAY_API void add(std::string_view item);
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

/// By the names of the sets: "train", "valid". A trainer carries the text of to_json() as a file of its
/// checkpoints.
using Fingerprints = std::map<std::string, Fingerprint>;

inline constexpr const char* kFingerprintFile = "data.json";

HEADWAY_API std::string to_json(const Fingerprints& sets);
/// Error(format) beginning with `what`.
HEADWAY_API Fingerprints fingerprints_from_json(std::string_view json, std::string_view what);
/// Which set differs and how, or empty: "train has 401 items, recorded are 400".
HEADWAY_API std::string difference(const Fingerprints& recorded, const Fingerprints& given);

}  // namespace headway::inline v1::train
