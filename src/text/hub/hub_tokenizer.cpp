#include <headway/text/hub_tokenizer.h>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include <headway/core/error.h>
#include <headway/core/parallel.h>

#include "text/file.h"
#include "text/hub/tokenizer_impl.h"
#include "text/utf8.h"

namespace headway::inline v1::text {

HubTokenizer HubTokenizer::from_json(std::string_view json, std::string_view what) {
  const std::string name(what);
  auto impl = hub::assemble(hub::parse_json(json, name), name);
  impl->files.push_back({"tokenizer.json", std::string(json)});
  hub::find_ends(*impl);
  return HubTokenizer(std::move(impl));
}

Encoding HubTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  return impl_->encode(text, options);
}

std::vector<Encoding> HubTokenizer::encode(const std::vector<std::string>& texts,
                                           const EncodeOptions& options) const {
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (find_invalid_utf8(texts[i]))
      require_utf8(texts[i], "HubTokenizer::encode", fmt::format("text {}", i));
  }
  std::vector<Encoding> out(texts.size());
  constexpr std::int64_t kTogether = 16;
  core::parallel_ranges(
      static_cast<std::int64_t>(texts.size()), kTogether, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
          out[i] = impl_->encode(texts[i], options);
      });
  return out;
}

std::string HubTokenizer::decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens) const {
  return impl_->decode(ids, skip_special_tokens);
}

std::optional<std::int32_t> HubTokenizer::id(std::string_view token) const {
  const std::int32_t found = impl_->id(token);
  return found < 0 ? std::nullopt : std::optional(found);
}

std::string HubTokenizer::token(std::int32_t id) const {
  const std::string* found = impl_->token(id);
  if (found == nullptr) {
    fail(ErrorCode::value, "HubTokenizer::token",
         fmt::format("id is {}; want one of {} that has a token", id, vocab_size()));
  }
  return *found;
}

std::int32_t HubTokenizer::vocab_size() const {
  std::int32_t size = impl_->model->tokens().size();
  for (const hub::AddedToken& token : impl_->added.tokens()) size = std::max(size, token.id + 1);
  return size;
}

bool HubTokenizer::is_special(std::int32_t id) const { return impl_->added.is_special(id); }
const SpecialTokens& HubTokenizer::special_tokens() const { return impl_->special; }
const std::vector<std::int32_t>& HubTokenizer::end_ids() const { return impl_->end_ids; }
bool HubTokenizer::adds_bos() const { return impl_->adds_bos; }
const std::string& HubTokenizer::chat_template() const { return impl_->chat_template; }
std::optional<std::int64_t> HubTokenizer::model_max_length() const { return impl_->model_max_length; }

void HubTokenizer::save(const std::filesystem::path& folder) const {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    fail(ErrorCode::io, "HubTokenizer::save", fmt::format("{}: {}", folder.string(), error.message()));
  for (const hub::File& file : impl_->files)
    write_file_atomically(folder / file.name, file.bytes, "HubTokenizer::save");
}

StreamDecoder::StreamDecoder(HubTokenizer tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_(skip_special_tokens) {}

// The text of the tokens in the window that were given.
std::string StreamDecoder::given_again() const {
  const std::vector<std::int32_t> given(window_.begin(),
                                        window_.begin() + static_cast<std::ptrdiff_t>(given_in_window_));
  return tokenizer_.decode(given, skip_special_);
}

std::string StreamDecoder::push(std::int32_t id) {
  all_.push_back(id);
  window_.push_back(id);
  const std::string* token = tokenizer_.impl_->token(id);
  // Bytes become characters when their run is over.
  if (token == nullptr || hub::byte_of_token(*token) >= 0) return "";
  const std::string text = tokenizer_.decode(window_, skip_special_);
  const std::string before = given_again();
  if (text.ends_with("\xEF\xBF\xBD") || !text.starts_with(before)) return "";
  std::string more = text.substr(before.size());
  given_bytes_ += more.size();
  // Decoders treat the first token apart, so the window keeps one that has a text, and drops what is older.
  const std::vector<std::int32_t> newer(window_.begin() + static_cast<std::ptrdiff_t>(given_in_window_),
                                        window_.end());
  if (!tokenizer_.decode(newer, skip_special_).empty() && !more.empty()) window_ = newer;
  given_in_window_ = window_.size();
  return more;
}

std::string StreamDecoder::finish() {
  const std::string text = tokenizer_.decode(all_, skip_special_);
  std::string more = text.substr(std::min(given_bytes_, text.size()));
  all_.clear();
  window_.clear();
  given_in_window_ = given_bytes_ = 0;
  return more;
}

}  // namespace headway::inline v1::text
