#include "text/hub/normalizers.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <utility>

#include "text/hub/characters.h"
#include "text/hub/pattern.h"

namespace headway::inline v1::text::hub {
namespace {

void lower(Aligned& text) {
  bool grows = false;
  text.filter_map([&](char32_t c) {
    char32_t second = 0;
    const char32_t lowered = lower_case(c, second);
    grows = grows || second != 0;
    return second != 0 ? c : lowered;
  });
  if (!grows) return;
  std::vector<Change> changes;
  const std::string_view now = text.text();
  for (std::size_t at = 0; at < now.size();) {
    char32_t second = 0;
    const char32_t first = lower_case(next_code_point(now, at), second);
    changes.push_back({first, 0});
    if (second != 0) changes.push_back({second, 1});
  }
  text.transform(changes, 0);
}

class Bert final : public Normalizer {
 public:
  explicit Bert(Fields fields) {
    clean_ = fields.boolean("clean_text", true);
    ideographs_ = fields.boolean("handle_chinese_chars", true);
    lower_ = fields.boolean("lowercase", true);
    strip_ = fields.boolean("strip_accents", lower_);
    fields.done();
  }
  void apply(Aligned& text) const override {
    if (clean_) {
      text.filter_map([](char32_t c) {
        return is_bert_control(c) ? Aligned::kDrop : is_white(c) ? U' ' : c;
      });
    }
    const bool ascii = is_ascii(text.text());
    if (ideographs_ && !ascii) set_ideographs_apart(text);
    if (strip_ && !ascii) {
      to_normal_form(text, NormalForm::nfd);
      text.filter_map([](char32_t c) { return is_bert_accent(c) ? Aligned::kDrop : c; });
    }
    if (lower_) lower(text);
  }

 private:
  static void set_ideographs_apart(Aligned& text) {
    std::vector<Change> changes;
    bool any = false;
    const std::string_view now = text.text();
    for (std::size_t at = 0; at < now.size();) {
      const char32_t c = next_code_point(now, at);
      if (is_bert_ideograph(c)) {
        any = true;
        changes.insert(changes.end(), {{U' ', 0}, {c, 1}, {U' ', 1}});
      } else {
        changes.push_back({c, 0});
      }
    }
    if (any) text.transform(changes, 0);
  }
  bool clean_, ideographs_, lower_, strip_;
};

class Form final : public Normalizer {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  void apply(Aligned& text) const override { to_normal_form(text, form_); }

 private:
  NormalForm form_;
};

class Lowercase final : public Normalizer {
 public:
  void apply(Aligned& text) const override { lower(text); }
};

class StripAccents final : public Normalizer {
 public:
  void apply(Aligned& text) const override {
    if (is_ascii(text.text())) return;
    text.filter_map([](char32_t c) { return is_combining_mark(c) ? Aligned::kDrop : c; });
  }
};

class Nmt final : public Normalizer {
 public:
  void apply(Aligned& text) const override {
    text.filter_map([](char32_t c) {
      if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) {
        return Aligned::kDrop;
      }
      const bool blank = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                         (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                         c == 0xFEFF || c == 0xFFFD;
      return blank ? U' ' : c;
    });
  }
};

class Strip final : public Normalizer {
 public:
  explicit Strip(Fields fields) : left_(fields.boolean("strip_left")), right_(fields.boolean("strip_right")) {
    fields.done();
  }
  void apply(Aligned& text) const override {
    const std::string_view all = text.text();
    std::size_t begin = 0;
    for (std::size_t at = 0; left_ && at < all.size() && is_white(next_code_point(all, at));) begin = at;
    std::size_t end = all.size();
    while (right_ && end > begin) {
      std::size_t last = end - 1;
      while (last > begin && (static_cast<unsigned char>(all[last]) & 0xC0) == 0x80) --last;
      std::size_t at = last;
      if (!is_white(next_code_point(all, at))) break;
      end = last;
    }
    if (begin == 0 && end == all.size()) return;
    text = Aligned(text, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end));
  }

 private:
  bool left_, right_;
};

class Replace final : public Normalizer {
 public:
  explicit Replace(Fields fields)
      : pattern_(fields.at("pattern"), fields.where("pattern")), content_(fields.string("content")) {
    fields.done();
  }
  void apply(Aligned& text) const override {
    std::vector<Span> matches;
    pattern_.find(text.text(), matches);
    text.replace(matches, content_);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(Fields fields) : content_(fields.string("prepend")) { fields.done(); }
  void apply(Aligned& text) const override { text.prepend(content_); }

 private:
  std::string content_;
};

class Precompiled final : public Normalizer {
 public:
  explicit Precompiled(Fields fields)
      : map_(decode_base64(fields.string("precompiled_charsmap", ""), fields.where()), fields.where()) {
    fields.done();
  }
  void apply(Aligned& text) const override { map_.apply(text); }

 private:
  Charsmap map_;
};

class ByteLevel final : public Normalizer {
 public:
  void apply(Aligned& text) const override {
    std::string mapped;
    std::vector<std::uint32_t> from;
    const std::string_view all = text.text();
    for (std::uint32_t i = 0; i < all.size(); ++i) {
      append_utf8(mapped, letter_of_byte(static_cast<unsigned char>(all[i])));
      from.resize(mapped.size(), i);
    }
    text.replace_bytes(std::move(mapped), from);
  }
};

class Sequence final : public Normalizer {
 public:
  explicit Sequence(Fields fields) {
    const Json& steps = array_of(fields.at("normalizers"), fields.where("normalizers"));
    for (std::size_t i = 0; i < steps.size(); ++i) {
      steps_.push_back(read_normalizer(steps[i], fmt::format("{}[{}]", fields.where("normalizers"), i)));
    }
    fields.done();
  }
  void apply(Aligned& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }

 private:
  std::vector<std::shared_ptr<const Normalizer>> steps_;
};

constexpr auto kLetters = [] {
  std::array<char32_t, 256> table{};
  char32_t next = 256;
  for (char32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    table[b] = printable ? b : next++;
  }
  return table;
}();

}  // namespace

char32_t letter_of_byte(unsigned char byte) { return kLetters[byte]; }

int byte_of_letter(char32_t letter) {
  static constexpr auto kBytes = [] {
    std::array<std::int16_t, 0x144> table{};
    table.fill(-1);
    for (std::size_t b = 0; b < kLetters.size(); ++b) table[kLetters[b]] = static_cast<std::int16_t>(b);
    return table;
  }();
  return letter < kBytes.size() ? kBytes[letter] : -1;
}

std::shared_ptr<const Normalizer> read_normalizer(const Json& json, const std::string& where) {
  Fields fields(json, where);
  const std::string type = fields.string("type");
  const auto plain = [&](auto made) -> std::shared_ptr<const Normalizer> {
    fields.done();
    return std::make_shared<decltype(made)>(std::move(made));
  };
  if (type == "BertNormalizer") return std::make_shared<Bert>(fields);
  if (type == "NFC") return plain(Form(NormalForm::nfc));
  if (type == "NFD") return plain(Form(NormalForm::nfd));
  if (type == "NFKC") return plain(Form(NormalForm::nfkc));
  if (type == "NFKD") return plain(Form(NormalForm::nfkd));
  if (type == "Lowercase") return plain(Lowercase());
  if (type == "StripAccents") return plain(StripAccents());
  if (type == "Nmt") return plain(Nmt());
  if (type == "ByteLevel") return plain(ByteLevel());
  if (type == "Strip") return std::make_shared<Strip>(fields);
  if (type == "Replace") return std::make_shared<Replace>(fields);
  if (type == "Prepend") return std::make_shared<Prepend>(fields);
  if (type == "Precompiled") return std::make_shared<Precompiled>(fields);
  if (type == "Sequence") return std::make_shared<Sequence>(fields);
  fail_unsupported(where, fmt::format("type '{}' is not known", type));
}

}  // namespace headway::inline v1::text::hub
