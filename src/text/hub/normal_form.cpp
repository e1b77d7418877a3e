#include <unicode/normalizer2.h>
#include <unicode/unistr.h>

#include <algorithm>

#include <headway/core/error.h>

#include "text/hub/characters.h"
#include "text/hub/normalizers.h"

namespace headway::inline v1::text::hub {
namespace {

constexpr int kTables = 9;  // the Unicode version of the tables that `tokenizers` normalizes by

const icu::Normalizer2& canonical() {
  UErrorCode code = U_ZERO_ERROR;
  const icu::Normalizer2* found = icu::Normalizer2::getNFCInstance(code);
  if (U_FAILURE(code)) fail(ErrorCode::internal, "HubTokenizer", u_errorName(code));
  return *found;
}

const icu::Normalizer2& compatible() {
  UErrorCode code = U_ZERO_ERROR;
  const icu::Normalizer2* found = icu::Normalizer2::getNFKCInstance(code);
  if (U_FAILURE(code)) fail(ErrorCode::internal, "HubTokenizer", u_errorName(code));
  return *found;
}

struct Decomposed {
  char32_t c;
  std::int32_t change;
  std::uint8_t order;
};

// Full decomposition in canonical order; what a code point becomes beyond its first is inserted.
std::vector<Decomposed> decompose(std::string_view text, const icu::Normalizer2& tables) {
  std::vector<Decomposed> out;
  out.reserve(text.size());
  std::size_t run = 0;  // where the marks begin that may still be put in order
  const auto push = [&](char32_t c, std::int32_t change) {
    const std::uint8_t order =
        c < 0x300 || !assigned_in(c, kTables) ? 0 : tables.getCombiningClass(static_cast<UChar32>(c));
    if (order == 0) {
      std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(run), out.end(),
                       [](const Decomposed& a, const Decomposed& b) { return a.order < b.order; });
      run = out.size() + 1;
    }
    out.push_back({c, change, order});
  };
  icu::UnicodeString parts;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c < 0xA0 || !tables.getDecomposition(static_cast<UChar32>(c), parts) || !assigned_in(c, kTables)) {
      push(c, 0);
      continue;
    }
    for (std::int32_t i = 0; i < parts.length(); i = parts.moveIndex32(i, 1)) {
      push(static_cast<char32_t>(parts.char32At(i)), i > 0 ? 1 : 0);
    }
  }
  if (run < out.size()) {
    std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(run), out.end(),
                     [](const Decomposed& a, const Decomposed& b) { return a.order < b.order; });
  }
  return out;
}

// Canonical composition (UAX 15, D117): each starter takes the marks that are not blocked from it.
std::vector<Change> compose(const std::vector<Decomposed>& text) {
  std::vector<Change> out;
  std::vector<Change> held;  // marks behind the starter that stay
  bool has_starter = false;
  Change starter;
  int last = -1;  // class of the last held mark
  const auto flush = [&] {
    if (has_starter) out.push_back(starter);
    out.insert(out.end(), held.begin(), held.end());
    held.clear();
    last = -1;
  };
  for (const Decomposed& next : text) {
    if (!has_starter) {
      if (next.order != 0) {
        out.push_back({next.c, next.change});
      } else {
        starter = {next.c, next.change};
        has_starter = true;
      }
      continue;
    }
    const bool blocked = last >= static_cast<int>(next.order);
    const UChar32 both =
        blocked ? -1 : canonical().composePair(static_cast<UChar32>(starter.c), static_cast<UChar32>(next.c));
    if (both >= 0 && assigned_in(static_cast<char32_t>(both), kTables)) {
      starter = {static_cast<char32_t>(both), starter.change + next.change - 1};
    } else if (next.order == 0) {
      flush();
      starter = {next.c, next.change};
    } else {
      held.push_back({next.c, next.change});
      last = next.order;
    }
  }
  flush();
  return out;
}

}  // namespace

void to_normal_form(Aligned& text, NormalForm form) {
  if (is_ascii(text.text())) return;
  const bool composed = form == NormalForm::nfc || form == NormalForm::nfkc;
  const bool canonically = form == NormalForm::nfc || form == NormalForm::nfd;
  const std::vector<Decomposed> parts = decompose(text.text(), canonically ? canonical() : compatible());
  std::vector<Change> changes;
  if (composed) {
    changes = compose(parts);
  } else {
    changes.reserve(parts.size());
    for (const Decomposed& part : parts) changes.push_back({part.c, part.change});
  }
  text.transform(changes, 0);
}

}  // namespace headway::inline v1::text::hub
