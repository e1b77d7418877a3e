#include <fmt/format.h>

#include <optional>

#include "text/hub/fields.h"
#include "text/hub/regex.h"
#include "text/utf8.h"

namespace headway::inline v1::text::hub {
namespace {

// Oniguruma's classes as members of an ICU set. Its \w counts superscripts and fractions of Latin-1 (a table
// quirk), and no joiners.
constexpr std::string_view kWhite = R"(\t\n\x0B\f\r\x85\p{Z})";
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xB2\xB3\xB9\xBC-\xBE)";
constexpr std::string_view kDigit = R"(\p{Nd})";

// Reads an Oniguruma pattern and writes ICU's.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (at_ < pattern_.size()) step();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail_unsupported(where_,
                     fmt::format("the pattern '{}' uses {}, whose meaning in ICU differs", pattern_, what));
  }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  void literal(char32_t c) {
    if (c < 0x80 && !(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z')) {
      out_ += fmt::format("\\x{{{:X}}}", static_cast<std::uint32_t>(c));
    } else {
      append_utf8(out_, c);
    }
  }
  std::string braces() {  // {…} with the braces
    const std::size_t end = pattern_.find('}', at_);
    if (peek() != '{' || end == std::string_view::npos) refuse("an escape without its braces");
    std::string got(pattern_.substr(at_, end + 1 - at_));
    at_ = end + 1;
    return got;
  }
  // The code point of an escape that stands for one; nullopt for anything else. at_ is behind the backslash.
  std::optional<char32_t> escaped_character() {
    const char c = peek();
    const auto single = [&](char32_t value) {
      ++at_;
      return value;
    };
    switch (c) {
      case 't':
        return single('\t');
      case 'n':
        return single('\n');
      case 'r':
        return single('\r');
      case 'f':
        return single('\f');
      case 'v':
        return single('\v');
      case 'a':
        return single('\a');
      case 'e':
        return single(0x1B);
      case 'x':
        ++at_;
        return hexadecimal(2);
      case 'u':
        ++at_;
        return hexadecimal(4);
      default:
        break;
    }
    if ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z')) return std::nullopt;
    return next_code_point(pattern_, at_);
  }
  char32_t hexadecimal(std::size_t digits) {
    std::string text;
    if (peek() == '{') {
      text = braces();
      text = text.substr(1, text.size() - 2);
    } else {
      while (text.size() < digits && std::isxdigit(static_cast<unsigned char>(peek())) != 0)
        text += pattern_[at_++];
    }
    if (text.empty() || text.size() > 6 ||
        text.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      refuse("a malformed escape");
    }
    return static_cast<char32_t>(std::stoul(text, nullptr, 16));
  }
  // A class escape inside or outside brackets, as ICU set members or a set.
  bool class_escape(bool inside) {
    const char c = peek();
    std::string_view members;
    switch (c | 32) {
      case 's':
        members = kWhite;
        break;
      case 'w':
        members = kWord;
        break;
      case 'd':
        members = kDigit;
        break;
      case 'p': {
        ++at_;
        std::string name = braces();
        bool negated = c == 'P';
        if (name.size() > 2 && name[1] == '^') {
          negated = !negated;
          name.erase(1, 1);
        }
        out_ += (negated ? "\\P" : "\\p") + name;
        return true;
      }
      default:
        return false;
    }
    ++at_;
    const bool negated = c < 'a';
    if (inside && !negated) {
      out_ += members;
    } else {
      out_ += negated ? "[^" : "[";
      out_ += members;
      out_ += ']';
    }
    return true;
  }
  void bracket() {
    if (++depth_ > 16) refuse("too many nested classes");
    ++at_;  // [
    out_ += '[';
    if (peek() == '^') {
      out_ += '^';
      ++at_;
    }
    bool first = true;
    bool after_character = false;
    while (true) {
      const char c = peek();
      if (at_ >= pattern_.size()) refuse("a class that does not end");
      if (c == ']' && !first) break;
      first = false;
      if (c == '[') {
        if (peek(1) == ':') refuse("a POSIX class");
        bracket();
        after_character = false;
      } else if (c == '&' && peek(1) == '&') {
        out_ += "&&";
        at_ += 2;
        after_character = false;
      } else if (c == '\\' && class_escape_at(true)) {
        after_character = false;
      } else if (c == '-' && after_character && range_goes_on()) {
        out_ += '-';
        ++at_;
        literal(set_character());
        after_character = false;
      } else {
        literal(set_character());
        after_character = true;
      }
    }
    ++at_;
    out_ += ']';
    --depth_;
  }
  // Whether a character follows the hyphen at at_, so that it is a range.
  bool range_goes_on() const {
    const char next = peek(1);
    if (next == '\\') return peek(2) != 's' && peek(2) != 'w' && peek(2) != 'd' && (peek(2) | 32) != 'p';
    return next != ']' && next != '[';
  }
  char32_t set_character() {
    if (peek() != '\\') return next_code_point(pattern_, at_);
    ++at_;
    const auto c = escaped_character();
    if (!c) refuse(fmt::format("\\{} in a class", peek()));
    return *c;
  }
  bool class_escape_at(bool inside) {
    ++at_;
    if (class_escape(inside)) return true;
    --at_;
    return false;
  }
  void escape() {
    if (class_escape_at(false)) return;
    ++at_;
    const char c = peek();
    if (c == 'b' || c == 'B') {
      const std::string word = fmt::format("[{}]", kWord);
      const std::string both =
          c == 'b' ? "(?:(?<={0})(?!{0})|(?<!{0})(?={0}))" : "(?:(?<={0})(?={0})|(?<!{0})(?!{0}))";
      out_ += fmt::format(fmt::runtime(both), word);
      ++at_;
    } else if (c == 'A' || c == 'z' || c == 'Z' || (c >= '1' && c <= '9')) {
      out_ += '\\';
      out_ += c;
      ++at_;
    } else if (const auto character = escaped_character()) {
      literal(*character);
    } else {
      refuse(fmt::format("\\{}", c));
    }
  }
  void group() {
    out_ += '(';
    ++at_;
    if (peek() != '?') return;
    const char kind = peek(1);
    const char next = peek(2);
    if (kind == ':' || kind == '=' || kind == '!' || kind == '>') {
      out_ += fmt::format("?{}", kind);
      at_ += 2;
    } else if (kind == '<' && (next == '=' || next == '!')) {
      out_ += fmt::format("?<{}", next);
      at_ += 3;
    } else if (kind == 'i' && (next == ':' || next == ')')) {
      out_ += fmt::format("?i{}", next);
      at_ += 3;
    } else if (kind == 'm' && (next == ':' || next == ')')) {  // Ruby's m: the dot matches line feeds too
      out_ += fmt::format("?s{}", next);
      at_ += 3;
    } else {
      refuse(fmt::format("(?{}", kind));
    }
  }
  void quantifier_end() {
    if (peek() == '+') {
      if (out_.back() == '}') refuse("{n,m}+ (possessive in ICU, repeated in Ruby)");
      out_ += '+';
      ++at_;
    } else if (peek() == '?') {
      out_ += '?';
      ++at_;
    }
  }
  void step() {
    const char c = peek();
    switch (c) {
      case '\\':
        escape();
        return;
      case '[':
        bracket();
        return;
      case '(':
        group();
        return;
      case '^':
        out_ += "(?:(?m:^))";
        break;  // at every line, in Ruby
      case '$':
        out_ += "(?=\\x{A}|\\z)";
        break;
      case '.':
        out_ += dot();
        break;
      case '*':
      case '+':
      case '?':
        out_ += c;
        ++at_;
        quantifier_end();
        return;
      case '{': {
        const std::string counts = braces();
        if (counts.size() < 3 || counts.find_first_not_of("0123456789,", 1) != counts.size() - 1 ||
            counts[1] == ',') {
          refuse("a brace that is no quantifier");
        }
        out_ += counts;
        quantifier_end();
        return;
      }
      case ')':
      case '|':
        out_ += c;
        break;
      default:
        literal(next_code_point(pattern_, at_));
        return;
    }
    ++at_;
  }
  std::string_view dot() const {
    if (pattern_.find("(?m") != std::string_view::npos) return ".";
    return "[^\\n]";
  }

  std::string_view pattern_;
  const std::string& where_;
  std::string out_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string icu_pattern(std::string_view oniguruma, const std::string& where) {
  return Translator(oniguruma, where).run();
}

}  // namespace headway::inline v1::text::hub
