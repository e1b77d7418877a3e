#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include <headway/core/error.h>

#include "text/hub/tokenizer_impl.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

constexpr std::size_t kMaxBytes = 1U << 30;
constexpr std::string_view kOperation = "HubTokenizer::encode";

void check(std::string_view text) {
  require_utf8(text, kOperation, "text");
  if (text.size() >= kMaxBytes) {
    fail(ErrorCode::value, kOperation,
         fmt::format("text is {} bytes; want below {}", text.size(), kMaxBytes));
  }
}

void keep(hub::Draft& draft, std::size_t count, bool left) {
  if (count >= draft.size()) return;
  left ? draft.keep(draft.size() - count, draft.size()) : draft.keep(0, count);
}

// Shortens to `most` tokens together.
void truncate(std::vector<hub::Draft>& drafts, std::size_t most, const hub::Truncation& how) {
  std::size_t total = 0;
  for (const hub::Draft& draft : drafts) total += draft.size();
  if (total <= most) return;
  if (most == 0 || drafts.size() == 1) {
    if (how.strategy == hub::TruncationStrategy::only_second && most > 0) {
      fail(ErrorCode::value, kOperation,
           "the file shortens second texts only, and there is none; want a pair");
    }
    for (hub::Draft& draft : drafts) keep(draft, most, how.left);
    return;
  }
  if (how.strategy != hub::TruncationStrategy::longest_first) {
    hub::Draft& target = drafts[how.strategy == hub::TruncationStrategy::only_first ? 0 : 1];
    const std::size_t surplus = total - most;
    if (target.size() <= surplus) {
      fail(ErrorCode::value, kOperation,
           fmt::format("{} tokens of a pair are to be {} by shortening one text of {}; want one long enough",
                       total, most, target.size()));
    }
    keep(target, target.size() - surplus, how.left);
    return;
  }
  // The shorter text stays whole while it takes no more than half.
  std::size_t shorter = std::min(drafts[0].size(), drafts[1].size());
  std::size_t longer = shorter > most ? shorter : std::max(shorter, most - shorter);
  if (shorter + longer > most) {
    shorter = most / 2;
    longer = shorter + most % 2;
  }
  const bool swapped = drafts[0].size() > drafts[1].size();
  keep(drafts[0], swapped ? longer : shorter, how.left);
  keep(drafts[1], swapped ? shorter : longer, how.left);
}

}  // namespace

std::unique_ptr<hub::Scratch> HubTokenizer::Impl::borrow() const {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::make_unique<hub::Scratch>();
  auto scratch = std::move(free_.back());
  free_.pop_back();
  return scratch;
}

void HubTokenizer::Impl::give_back(std::unique_ptr<hub::Scratch> scratch) const {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

hub::Draft HubTokenizer::Impl::draft(std::string_view text, std::int32_t type, bool special_in_text) const {
  hub::Draft out;
  out.text = text;
  if (text.empty()) return out;
  auto scratch = borrow();
  hub::Cut& cut = scratch->cut;
  cut.clear();
  const auto size = static_cast<std::uint32_t>(text.size());
  cut.texts.emplace_back(text, hub::Span{0, size});
  cut.pieces.push_back({0, 0, size, -1});
  added.apply(cut, normalizer.get(), special_in_text);
  if (pre_tokenizer != nullptr) pre_tokenizer->apply(cut);
  Encoding& encoding = out.encoding;
  const auto add = [&](std::int32_t id, hub::Span span, std::int32_t word, std::string_view token) {
    encoding.ids.push_back(id);
    encoding.offsets.push_back({span.begin, span.end});
    encoding.words.push_back(word);
    out.tokens.push_back(token);
  };
  std::int32_t word = 0;
  for (const hub::Piece& piece : cut.pieces) {
    if (piece.id >= 0) {
      const hub::Span span = cut.span(piece);
      // The token's text takes in the blanks that were stripped with it.
      add(piece.id, span, word++, text.substr(span.begin, span.end - span.begin));
      continue;
    }
    if (piece.begin >= piece.end) continue;
    scratch->tokens.clear();
    model->tokenize(cut.view(piece), scratch->cache, scratch->tokens);
    const hub::Aligned& aligned = cut.texts[piece.text];
    for (const hub::ModelToken& token : scratch->tokens) {
      const std::string* spelled = model->tokens().token(token.id);
      add(token.id, aligned.span(piece.begin + token.begin, piece.begin + token.end), word,
          spelled == nullptr ? std::string_view() : *spelled);
    }
    ++word;
  }
  encoding.type_ids.assign(encoding.ids.size(), type);
  encoding.sequences.assign(encoding.ids.size(), type);
  give_back(std::move(scratch));
  return out;
}

Encoding HubTokenizer::Impl::encode(std::string_view text, const EncodeOptions& options) const {
  check(text);
  std::vector<hub::Draft> drafts;
  drafts.push_back(draft(text, 0, options.special_in_text));
  if (options.pair) {
    check(*options.pair);
    drafts.push_back(draft(*options.pair, 1, options.special_in_text));
  }
  const std::int64_t length =
      options.max_length == EncodeOptions::kFileLength ? truncation.max_length : options.max_length;
  if (length < 0) fail(ErrorCode::value, kOperation, fmt::format("max_length is {}; want 0 or more", length));
  if (length > 0) {
    const std::size_t around =
        processor != nullptr && options.add_special_tokens ? processor->added(drafts.size() > 1) : 0;
    if (static_cast<std::size_t>(length) < around) {
      fail(ErrorCode::value, kOperation,
           fmt::format("max_length is {}, and {} tokens are put around a text; want at least as many", length,
                       around));
    }
    truncate(drafts, static_cast<std::size_t>(length) - around, truncation);
  }
  if (processor != nullptr) processor->apply(drafts, options.add_special_tokens);
  if (drafts.empty()) return {};
  hub::Draft all = std::move(drafts.front());
  for (std::size_t i = 1; i < drafts.size(); ++i) all.append(drafts[i]);
  return std::move(all.encoding);
}

const std::string* HubTokenizer::Impl::token(std::int32_t id) const {
  const hub::AddedToken* found = added.find(id);
  return found != nullptr ? &found->content : model->tokens().token(id);
}

std::int32_t HubTokenizer::Impl::id(std::string_view token) const {
  const hub::AddedToken* found = added.find(token);
  return found != nullptr ? found->id : model->tokens().find(token);
}

std::string HubTokenizer::Impl::decode(const std::vector<std::int32_t>& ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const std::int32_t id : ids) {
    const std::string* found = token(id);
    if (found == nullptr) continue;
    if (skip_special) {  // by the token, not the id: a vocabulary may have one twice
      const hub::AddedToken* listed = added.find(std::string_view(*found));
      if (listed != nullptr && listed->special) continue;
    }
    tokens.push_back(*found);
  }
  if (decoder != nullptr) decoder->apply(tokens);
  std::string out;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (decoder == nullptr && i > 0) out += ' ';
    out += tokens[i];
  }
  return out;
}

}  // namespace headway::inline v1::text
