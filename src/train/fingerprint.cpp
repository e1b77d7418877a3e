#include <headway/train/fingerprint.h>

#include <charconv>

#include <fmt/format.h>

#include "io/json.h"

namespace headway::inline v1::train {
namespace {

constexpr int kFormatVersion = 1;

void mix(std::uint64_t& hash, unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3u; }

}  // namespace

void Fingerprint::add(std::string_view item) {
  ++items;
  for (const char c : item) mix(hash, static_cast<unsigned char>(c));
  // And its length, so that no two lists of items are the same bytes.
  for (int i = 0; i < 8; ++i) mix(hash, static_cast<unsigned char>(std::uint64_t{item.size()} >> (8 * i)));
}

std::string to_json(const Fingerprints& sets) {
  io::OrderedJson out;
  out["format_version"] = kFormatVersion;
  for (const auto& [name, set] : sets)
    out["sets"][name] = {{"items", set.items}, {"fnv1a64", fmt::format("{:016x}", set.hash)}};
  return io::dump_json(out) + "\n";
}

Fingerprints fingerprints_from_json(std::string_view text, std::string_view what) {
  const io::Json json = io::parse_json(text, what);
  io::Fields top(json, std::string(what));
  top.version(kFormatVersion);
  Fingerprints sets;
  const io::Json& all = top.child("sets");
  for (const auto& [name, value] : all.items()) {
    io::Fields fields(value, fmt::format("{}: {}", what, quoted(name)));
    Fingerprint& set = sets[name];
    set.items = fields.get<std::int64_t>("items");
    const auto hash = fields.get<std::string>("fnv1a64");
    const auto [end, error] = std::from_chars(hash.data(), hash.data() + hash.size(), set.hash, 16);
    if (hash.size() != 16 || error != std::errc() || end != hash.data() + hash.size())
      fields.refuse(fmt::format("has {} for \"fnv1a64\"; want 16 hexadecimal digits", quoted(hash)));
    fields.finish();
  }
  top.finish();
  return sets;
}

std::string difference(const Fingerprints& recorded, const Fingerprints& given) {
  for (const auto& [name, set] : recorded) {
    const auto found = given.find(name);
    if (found == given.end()) return fmt::format("{} is missing, recorded are {} items", name, set.items);
    if (found->second.items != set.items)
      return fmt::format("{} has {} items, recorded are {}", name, found->second.items, set.items);
    if (found->second != set) return fmt::format("{} has other items than the {} recorded", name, set.items);
  }
  for (const auto& [name, set] : given) {
    if (!recorded.contains(name)) return fmt::format("{} has {} items, recorded is none", name, set.items);
  }
  return "";
}

}  // namespace headway::inline v1::train
