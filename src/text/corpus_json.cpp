#include "text/corpus_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include <headway/core/error.h>
#include <headway/core/quote.h>

namespace headway::inline v1::text {
namespace {

using Json = nlohmann::ordered_json;

// Takes known keys one by one; what is left at the end is unknown.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) complain("it", "no object");
    for (const auto& item : object.items()) left_.insert(item.key());
  }
  template <typename Value>
  void take(const char* key, Value& value) {
    value = child(key).template get<Value>();
  }
  const Json& child(const char* key) {
    const auto found = object_.find(key);
    if (found == object_.end()) complain(key, "missing");
    left_.erase(key);
    return *found;
  }
  void finish() const {
    if (!left_.empty()) complain(*left_.begin(), "unknown");
  }
  const std::string& where() const { return where_; }

 private:
  [[noreturn]] void complain(const std::string& key, std::string_view what) const {
    fail(ErrorCode::format, "read corpus",
         fmt::format("{}: {} is {}; want format_version {} of this file", where_, key, what,
                     kCorpusFormatVersion));
  }
  const Json& object_;
  std::string where_;
  std::set<std::string> left_;
};

// The parser keeps the last of equal keys and ends at a NUL, both in silence.
Json::parser_callback_t refuse_twice(const std::string& text, const std::string& file) {
  const auto refuse = [file](const std::string& what) {
    fail(ErrorCode::format, "read corpus", fmt::format("{} has {}", file, what));
  };
  if (text.find('\0') != std::string::npos) refuse("a NUL; want text");
  return [keys = std::vector<std::set<std::string>>(), refuse](int, Json::parse_event_t event,
                                                               Json& value) mutable {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      refuse(fmt::format("the key {} twice", quoted(value.get<std::string>())));
    return true;
  };
}

CorpusInfo parse(const Json& json, const std::string& file, CorpusSizes& sizes) {
  CorpusInfo info;
  Reader top(json, file);
  int version = 0;
  top.take("format_version", version);
  if (version != kCorpusFormatVersion) {
    fail(ErrorCode::format, "read corpus",
         fmt::format("{}: format_version is {}; want {}", file, version, kCorpusFormatVersion));
  }
  top.take("name", info.name);
  top.take("source_language", info.source_language);
  top.take("target_language", info.target_language);
  top.take("licence", info.licence);
  for (const auto& item : top.child("packages").items()) {
    info.packages.emplace_back(item.key(), item.value().get<std::string>());
  }
  Reader counts(top.child("pairs"), file + ", pairs");
  counts.take("train", sizes.train);
  counts.take("valid", sizes.valid);
  counts.take("test", sizes.test);
  counts.finish();
  Reader clean(top.child("clean"), file + ", clean");
  clean.take("max_words", info.clean.max_words);
  clean.take("max_length_ratio", info.clean.max_length_ratio);
  clean.take("ratio_slack", info.clean.ratio_slack);
  clean.take("max_identical_words", info.clean.max_identical_words);
  clean.take("kept", info.cleaned.kept);
  clean.take("dropped_empty", info.cleaned.empty);
  clean.take("dropped_too_long", info.cleaned.too_long);
  clean.take("dropped_bad_ratio", info.cleaned.bad_ratio);
  clean.take("dropped_untranslated", info.cleaned.untranslated);
  clean.finish();
  Reader split(top.child("split"), file + ", split");
  split.take("test_share", info.split.test);
  split.take("valid_share", info.split.valid);
  split.take("max_similarity", info.split.max_similarity);
  split.take("salt", info.split.salt);
  std::string measure;
  split.take("similarity_measure", measure);
  split.take("dropped_duplicates", info.duplicates);
  split.take("dropped_identical", info.identical);
  split.take("dropped_seen", info.seen);
  split.take("dropped_similar", info.similar);
  split.finish();
  top.finish();
  return info;
}

}  // namespace

std::string corpus_to_json(const CorpusInfo& info, const CorpusSizes& sizes) {
  Json packages = Json::object();
  for (const auto& [name, version] : info.packages) packages[name] = version;
  const Json json{
      {"format_version", kCorpusFormatVersion},
      {"name", info.name},
      {"source_language", info.source_language},
      {"target_language", info.target_language},
      {"licence", info.licence},
      {"packages", packages},
      {"pairs", {{"train", sizes.train}, {"valid", sizes.valid}, {"test", sizes.test}}},
      {"clean",
       {{"max_words", info.clean.max_words},
        {"max_length_ratio", info.clean.max_length_ratio},
        {"ratio_slack", info.clean.ratio_slack},
        {"max_identical_words", info.clean.max_identical_words},
        {"kept", info.cleaned.kept},
        {"dropped_empty", info.cleaned.empty},
        {"dropped_too_long", info.cleaned.too_long},
        {"dropped_bad_ratio", info.cleaned.bad_ratio},
        {"dropped_untranslated", info.cleaned.untranslated}}},
      {"split",
       {{"test_share", info.split.test},
        {"valid_share", info.split.valid},
        {"max_similarity", info.split.max_similarity},
        {"salt", info.split.salt},
        {"similarity_measure", "Dice coefficient of bags of folded words, either side"},
        {"dropped_duplicates", info.duplicates},
        {"dropped_identical", info.identical},
        {"dropped_seen", info.seen},
        {"dropped_similar", info.similar}}},
  };
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

CorpusInfo corpus_from_json(const std::string& text, const std::string& file, CorpusSizes& sizes) {
  try {
    return parse(Json::parse(text, refuse_twice(text, file)), file, sizes);
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorCode::format, "read corpus",
         fmt::format("{}: {}; want the JSON that `headway prepare` writes", file, error.what()));
  }
}

}  // namespace headway::inline v1::text
