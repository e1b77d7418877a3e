#include "text/hub/pre_tokenizers.h"

#include <fmt/format.h>
#include <unicode/uscript.h>

#include <utility>

#include "text/hub/characters.h"
#include "text/hub/normalizers.h"
#include "text/hub/pattern.h"
#include "text/hub/splitting.h"

namespace headway::inline v1::text::hub {
namespace {

SplitBehavior behavior_of(const std::string& name, const std::string& where) {
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  fail_unsupported(where, fmt::format("behavior '{}' is not known", name));
}

void split_by(Cut& cut, SplitBehavior behavior, bool invert, const Pattern& pattern) {
  std::vector<Span> found;
  std::vector<Match> matches;
  cut_each(cut, [&](const Piece& piece, std::vector<Piece>& out) {
    const std::string_view text = cut.view(piece);
    found.clear();
    matches.clear();
    pattern.find(text, found);
    std::uint32_t done = 0;
    for (const Span match : found) {
      if (done != match.begin) matches.push_back({done, match.begin, invert});
      matches.push_back({match.begin, match.end, !invert});
      done = match.end;
    }
    if (done != text.size()) matches.push_back({done, static_cast<std::uint32_t>(text.size()), invert});
    append_split(piece, matches, behavior, out);
  });
}

class Bert final : public PreTokenizer {
 public:
  void apply(Cut& cut) const override {
    cut_each(cut, [&](const Piece& piece, std::vector<Piece>& out) {
      const std::string_view text = cut.view(piece);
      std::uint32_t begin = 0;
      const auto add = [&](std::uint32_t from, std::uint32_t to) {
        if (from < to) out.push_back({piece.text, piece.begin + from, piece.begin + to, -1});
      };
      for (std::size_t at = 0; at < text.size();) {
        const auto here = static_cast<std::uint32_t>(at);
        const char32_t c = next_code_point(text, at);
        const bool white = is_white(c);
        if (!white && !is_bert_punctuation(c)) continue;
        add(begin, here);
        begin = static_cast<std::uint32_t>(at);
        if (!white) add(here, begin);
      }
      add(begin, static_cast<std::uint32_t>(text.size()));
    });
  }
};

// Runs of word characters and runs of others; white space falls away.
class Whitespace final : public PreTokenizer {
 public:
  void apply(Cut& cut) const override {
    cut_each(cut, [&](const Piece& piece, std::vector<Piece>& out) {
      const std::string_view text = cut.view(piece);
      int last = 0;
      for (std::size_t at = 0; at < text.size();) {
        const std::uint32_t begin = piece.begin + static_cast<std::uint32_t>(at);
        const char32_t c = next_code_point(text, at);
        const std::uint32_t end = piece.begin + static_cast<std::uint32_t>(at);
        const int kind = is_word(c) ? 1 : is_white(c) ? 0 : 2;
        if (kind != 0 && kind == last) {
          out.back().end = end;
        } else if (kind != 0) {
          out.push_back({piece.text, begin, end, -1});
        }
        last = kind;
      }
    });
  }
};

template <typename Is>
class SplitAt final : public PreTokenizer {
 public:
  SplitAt(SplitBehavior behavior, Is is) : behavior_(behavior), is_(std::move(is)) {}
  void apply(Cut& cut) const override { split_at(cut, behavior_, is_); }

 private:
  SplitBehavior behavior_;
  Is is_;
};

template <typename Is>
std::shared_ptr<PreTokenizer> make_split(SplitBehavior behavior, Is is) {
  return std::make_shared<SplitAt<Is>>(behavior, std::move(is));
}

class Split final : public PreTokenizer {
 public:
  explicit Split(Fields fields)
      : pattern_(fields.at("pattern"), fields.where("pattern")),
        behavior_(behavior_of(fields.string("behavior"), fields.where())),
        invert_(fields.boolean("invert", false)) {
    fields.done();
  }
  void apply(Cut& cut) const override { split_by(cut, behavior_, invert_, pattern_); }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class ByteLevel final : public PreTokenizer {
 public:
  explicit ByteLevel(Fields fields)
      : prefix_(fields.boolean("add_prefix_space")),
        split_(fields.boolean("use_regex", true)),
        words_(
            Json{{"Regex", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"}},
            fields.where()) {
    fields.boolean("trim_offsets", true);
    fields.done();
  }
  void apply(Cut& cut) const override {
    if (prefix_) {
      for (Piece& piece : cut.pieces) {
        if (piece.id >= 0 || piece.begin >= piece.end || cut.view(piece).starts_with(' ')) continue;
        Aligned& text = cut.detach(piece);
        text.prepend(" ");
        piece.end = text.size();
      }
    }
    if (split_) split_by(cut, SplitBehavior::isolated, false, words_);
    if (!letters_) return;
    for (Piece& piece : cut.pieces) {
      if (piece.id >= 0) continue;
      spell(cut.detach(piece));
      piece.end = cut.texts.back().size();
    }
  }
  bool ends_in_letters() const override { return true; }
  void skip_letters() override { letters_ = false; }

 private:
  static void spell(Aligned& text) {
    std::string letters;
    std::vector<std::uint32_t> from;
    const std::string_view all = text.text();
    for (std::uint32_t i = 0; i < all.size(); ++i) {
      append_utf8(letters, letter_of_byte(static_cast<unsigned char>(all[i])));
      from.resize(letters.size(), i);
    }
    text.replace_bytes(std::move(letters), from);
  }

  bool prefix_, split_;
  bool letters_ = true;
  Pattern words_;
};

class Metaspace final : public PreTokenizer {
 public:
  enum class Prepend { always, first, never };

  explicit Metaspace(Fields fields) {
    append_utf8(mark_, fields.character("replacement", U'\u2581'));
    const bool prefix = fields.boolean("add_prefix_space", true);
    const std::string scheme = fields.string("prepend_scheme", prefix ? "always" : "never");
    prepend_ = scheme == "first" ? Prepend::first : scheme == "never" ? Prepend::never : Prepend::always;
    if (prepend_ == Prepend::always && scheme != "always") {
      fail_unsupported(fields.where("prepend_scheme"), fmt::format("'{}' is not known", scheme));
    }
    split_ = fields.boolean("split", true);
    fields.ignore("str_rep");  // what older versions wrote: the replacement once more
    fields.done();
  }
  void apply(Cut& cut) const override {
    std::vector<Span> blanks;
    std::vector<Match> matches;
    cut_each(cut, [&](Piece& piece, std::vector<Piece>& out) {
      const std::uint32_t origin = cut.texts[piece.text].span(piece.begin).begin;
      Aligned& text = cut.detach(piece);
      blanks.clear();
      for (std::uint32_t i = 0; i < text.size(); ++i) {
        if (text.text()[i] == ' ') blanks.push_back({i, i + 1});
      }
      text.replace(blanks, mark_);
      const bool wanted = prepend_ == Prepend::always || (prepend_ == Prepend::first && origin == 0);
      if (wanted && !text.text().starts_with(mark_)) text.prepend(mark_);
      piece.end = text.size();
      if (!split_) {
        out.push_back(piece);
        return;
      }
      split(text.text(), matches);
      append_split(piece, matches, SplitBehavior::merged_with_next, out);
    });
  }

 private:
  void split(std::string_view text, std::vector<Match>& matches) const {
    matches.clear();
    std::size_t done = 0;
    const auto add = [&](std::size_t begin, std::size_t end, bool is_match) {
      if (begin < end)
        matches.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), is_match});
    };
    for (std::size_t at = text.find(mark_); at != std::string_view::npos; at = text.find(mark_, done)) {
      add(done, at, false);
      done = at + mark_.size();
      add(at, done, true);
    }
    add(done, text.size(), false);
  }

  std::string mark_;
  Prepend prepend_;
  bool split_;
};

// Kana count as Han, blanks as any script.
class UnicodeScripts final : public PreTokenizer {
 public:
  void apply(Cut& cut) const override {
    cut_each(cut, [&](const Piece& piece, std::vector<Piece>& out) {
      const std::string_view text = cut.view(piece);
      int last = -2;
      bool open = false;
      for (std::size_t at = 0; at < text.size();) {
        const std::uint32_t begin = piece.begin + static_cast<std::uint32_t>(at);
        const int script = script_of(next_code_point(text, at));
        const std::uint32_t end = piece.begin + static_cast<std::uint32_t>(at);
        if (script != kAny && script != last) {
          out.push_back({piece.text, begin, end, -1});
          open = true;
        } else if (open) {
          out.back().end = end;
        }
        if (script != kAny) last = script;
      }
    });
  }

 private:
  static constexpr int kAny = -1;
  static int script_of(char32_t c) {
    if (c == U' ') return kAny;
    if (c == 0x30FC) return USCRIPT_HAN;
    UErrorCode code = U_ZERO_ERROR;
    const UScriptCode script = uscript_getScript(static_cast<UChar32>(c), &code);
    // The table that `tokenizers` carries is of Unicode 9.
    if (script == USCRIPT_UNKNOWN || U_FAILURE(code) || !assigned_in(c, 9)) return kAny;
    return script == USCRIPT_HIRAGANA || script == USCRIPT_KATAKANA ? USCRIPT_HAN : script;
  }
};

class FixedLength final : public PreTokenizer {
 public:
  explicit FixedLength(Fields fields) : length_(fields.integer("length", 1, kMaxId)) { fields.done(); }
  void apply(Cut& cut) const override {
    cut_each(cut, [&](const Piece& piece, std::vector<Piece>& out) {
      const std::string_view text = cut.view(piece);
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t begin = at;
        for (std::int64_t i = 0; i < length_ && at < text.size(); ++i) next_code_point(text, at);
        out.push_back({piece.text, piece.begin + static_cast<std::uint32_t>(begin),
                       piece.begin + static_cast<std::uint32_t>(at), -1});
      }
    });
  }

 private:
  std::int64_t length_;
};

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(Fields fields) {
    const Json& steps = array_of(fields.at("pretokenizers"), fields.where("pretokenizers"));
    for (std::size_t i = 0; i < steps.size(); ++i) {
      steps_.push_back(read_pre_tokenizer(steps[i], fmt::format("{}[{}]", fields.where("pretokenizers"), i)));
    }
    fields.done();
  }
  void apply(Cut& cut) const override {
    for (const auto& step : steps_) step->apply(cut);
  }
  bool ends_in_letters() const override { return !steps_.empty() && steps_.back()->ends_in_letters(); }
  void skip_letters() override { steps_.back()->skip_letters(); }

 private:
  std::vector<std::shared_ptr<PreTokenizer>> steps_;
};

}  // namespace

std::shared_ptr<PreTokenizer> read_pre_tokenizer(const Json& json, const std::string& where) {
  Fields fields(json, where);
  const std::string type = fields.string("type");
  if (type == "ByteLevel") return std::make_shared<ByteLevel>(fields);
  if (type == "Metaspace") return std::make_shared<Metaspace>(fields);
  if (type == "Split") return std::make_shared<Split>(fields);
  if (type == "Sequence") return std::make_shared<Sequence>(fields);
  if (type == "FixedLength") return std::make_shared<FixedLength>(fields);
  std::shared_ptr<PreTokenizer> made;
  if (type == "BertPreTokenizer") made = std::make_shared<Bert>();
  if (type == "Whitespace") made = std::make_shared<Whitespace>();
  if (type == "UnicodeScripts") made = std::make_shared<UnicodeScripts>();
  if (type == "WhitespaceSplit") made = make_split(SplitBehavior::removed, is_white);
  if (type == "Digits") {
    const bool each = fields.boolean("individual_digits", false);
    made = make_split(each ? SplitBehavior::isolated : SplitBehavior::contiguous, is_numeric);
  }
  if (type == "Punctuation") {
    made = make_split(behavior_of(fields.string("behavior", "Isolated"), where), is_bert_punctuation);
  }
  if (type == "CharDelimiterSplit") {
    const char32_t delimiter = fields.character("delimiter", 0);
    if (!fields.has("delimiter")) fail_format(where, "has no field 'delimiter'");
    made = make_split(SplitBehavior::removed, [delimiter](char32_t c) { return c == delimiter; });
  }
  if (made == nullptr) fail_unsupported(where, fmt::format("type '{}' is not known", type));
  fields.done();
  return made;
}

}  // namespace headway::inline v1::text::hub
