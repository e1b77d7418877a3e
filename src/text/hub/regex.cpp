#include "text/hub/regex.h"

#include <fmt/format.h>
#include <unicode/regex.h>
#include <unicode/unistr.h>

#include <mutex>
#include <utility>

#include <headway/core/error.h>

#include "text/hub/fields.h"

namespace headway::inline v1::text::hub {
namespace {

// ICU's matcher keeps its backtracking states on the heap; beyond this a pathological pattern is an error.
constexpr std::int32_t kStackBytes = 64 << 20;

// Matchers hold state, so each call borrows one.
class Matchers {
 public:
  explicit Matchers(std::unique_ptr<icu::RegexPattern> pattern) : pattern_(std::move(pattern)) {}

  std::unique_ptr<icu::RegexMatcher> take() const {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
      UErrorCode code = U_ZERO_ERROR;
      std::unique_ptr<icu::RegexMatcher> made(pattern_->matcher(code));
      if (U_SUCCESS(code)) made->setStackLimit(kStackBytes, code);
      if (U_FAILURE(code)) fail(ErrorCode::internal, "HubTokenizer", u_errorName(code));
      return made;
    }
    auto matcher = std::move(free_.back());
    free_.pop_back();
    return matcher;
  }
  void give(std::unique_ptr<icu::RegexMatcher> matcher) const {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(matcher));
  }

 private:
  std::unique_ptr<icu::RegexPattern> pattern_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<icu::RegexMatcher>> free_;
};

}  // namespace

struct Regex::Impl {
  explicit Impl(std::unique_ptr<icu::RegexPattern> pattern) : matchers(std::move(pattern)) {}
  Matchers matchers;
};

Regex::Regex(std::string_view pattern, const std::string& where) {
  const std::string translated = icu_pattern(pattern, where);
  UErrorCode code = U_ZERO_ERROR;
  UParseError at;
  std::unique_ptr<icu::RegexPattern> compiled(
      icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(translated), at, code));
  if (U_FAILURE(code) || compiled == nullptr) {
    fail_format(where, fmt::format("the pattern '{}' does not compile: {}", pattern, u_errorName(code)));
  }
  impl_ = std::make_unique<Impl>(std::move(compiled));
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;

void Regex::find(std::string_view text, std::vector<Span>& matches) const {
  const auto units =
      icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())));
  auto matcher = impl_->matchers.take();
  matcher->reset(units);
  UErrorCode code = U_ZERO_ERROR;
  // Positions in UTF-16 become bytes on one walk, since matches are ordered.
  std::int32_t unit = 0;
  std::uint32_t byte = 0;
  const bool ascii = units.length() == static_cast<std::int32_t>(text.size());
  const auto byte_of = [&](std::int32_t target) {
    if (ascii) return static_cast<std::uint32_t>(target);
    while (unit < target) {
      const std::uint32_t length = utf8_length(text[byte]);
      byte += length;
      unit += length == 4 ? 2 : 1;
    }
    return byte;
  };
  while (matcher->find(code) && U_SUCCESS(code)) {
    const std::uint32_t begin = byte_of(matcher->start(code));
    matches.push_back({begin, byte_of(matcher->end(code))});
  }
  matcher->reset();
  impl_->matchers.give(std::move(matcher));
  if (U_FAILURE(code)) {
    fail(ErrorCode::value, "HubTokenizer",
         fmt::format("matching a text of {} bytes failed: {}", text.size(), u_errorName(code)));
  }
}

}  // namespace headway::inline v1::text::hub
