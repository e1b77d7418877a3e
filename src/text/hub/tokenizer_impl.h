#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <headway/text/hub_tokenizer.h>

#include "text/hub/added_tokens.h"
#include "text/hub/decoders.h"
#include "text/hub/models.h"
#include "text/hub/normalizers.h"
#include "text/hub/pre_tokenizers.h"
#include "text/hub/processors.h"

namespace headway::inline v1::text {

namespace hub {

enum class TruncationStrategy { longest_first, only_first, only_second };

struct Truncation {
  std::int64_t max_length = 0;
  TruncationStrategy strategy = TruncationStrategy::longest_first;
  bool left = false;  // which end is cut off
};

struct File {
  std::string name;
  std::string bytes;
};

/// What one call of encode() works with.
struct Scratch {
  Cut cut;
  ModelCache cache;
  std::vector<ModelToken> tokens;
};

}  // namespace hub

struct HubTokenizer::Impl {
  std::shared_ptr<const hub::Normalizer> normalizer;
  std::shared_ptr<const hub::PreTokenizer> pre_tokenizer;
  std::shared_ptr<const hub::Model> model;
  std::shared_ptr<const hub::Processor> processor;
  std::shared_ptr<const hub::Decoder> decoder;
  hub::AddedTokens added;
  hub::Truncation truncation;
  SpecialTokens special;
  std::vector<std::int32_t> end_ids;
  bool adds_bos = false;
  std::string chat_template;
  std::optional<std::int64_t> model_max_length;
  std::vector<hub::File> files;
  std::shared_ptr<const GgufVocabulary> gguf;  // what it was made from; null: something else

  Encoding encode(std::string_view text, const EncodeOptions& options) const;
  std::string decode(const std::vector<std::int32_t>& ids, bool skip_special) const;
  /// nullptr: none.
  const std::string* token(std::int32_t id) const;
  std::int32_t id(std::string_view token) const;

 private:
  hub::Draft draft(std::string_view text, std::int32_t type, bool special_in_text) const;
  std::unique_ptr<hub::Scratch> borrow() const;
  void give_back(std::unique_ptr<hub::Scratch> scratch) const;

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<hub::Scratch>> free_;
};

namespace hub {

/// The parts of a tokenizer.json.
std::shared_ptr<HubTokenizer::Impl> assemble(const Json& json, const std::string& what);

/// What the files beside the tokenizer say.
struct Config {
  Json tokenizer_config;      // null where missing
  Json special_tokens_map;    // null where missing
  Json added_tokens;          // null where missing
  std::string chat_template;  // chat_template.jinja
};

/// The token that `name` ("bos_token") has in the files; nullopt where none.
std::optional<std::string> special_token(const Config& config, std::string_view name);
bool flag(const Config& config, std::string_view name, bool otherwise);
/// Sets what the files say of special tokens, chat template and length.
void configure(HubTokenizer::Impl& impl, const Config& config);
/// Looks which begin and end tokens encode() adds.
void find_ends(HubTokenizer::Impl& impl);

}  // namespace hub
}  // namespace headway::inline v1::text
