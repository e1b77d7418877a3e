// Mask::parse: what Mask::str() writes, read back.
//   mask = both { "|" both }     both = one { "&" one }     one = "!" one | "(" mask ")" | name [ "(" numbers
//   ")" ]
#include <headway/attention/mask.h>

#include <cctype>
#include <charconv>
#include <map>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>

namespace headway::inline v1 {
namespace {

using Numbers = std::vector<std::int64_t>;

class MaskParser {
 public:
  explicit MaskParser(std::string_view text) : text_(text) {}
  Mask parse() {
    Mask mask = either();
    if (peek() != '\0') wrong("'&', '|' or the end");
    return mask;
  }

 private:
  static constexpr int kDeepest = 100;

  char peek() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  [[noreturn]] void wrong(std::string_view wanted) const {
    fail(ErrorCode::value, "Mask::parse",
         fmt::format("'{}' at '{}'; want {}", printable(text_),
                     printable(text_.substr(std::min(at_, text_.size()))), wanted));
  }

  Mask either() {
    Mask mask = both();
    while (take('|')) mask = mask | both();
    return mask;
  }
  Mask both() {
    Mask mask = one();
    while (take('&')) mask = mask & one();
    return mask;
  }
  Mask one() {
    if (++depth_ > kDeepest) wrong("fewer brackets");
    Mask mask;
    if (take('!')) {
      mask = !one();
    } else if (take('(')) {
      mask = either();
      if (!take(')')) wrong("')'");
    } else {
      mask = named();
    }
    --depth_;
    return mask;
  }

  Mask named() {
    peek();
    const std::size_t begin = at_;
    while (at_ < text_.size() && (std::isalpha(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_'))
      ++at_;
    const std::string_view name = text_.substr(begin, at_ - begin);
    Numbers numbers;
    Align align = Align::bottom_right;
    if (take('(')) {
      do {
        if (!number(numbers) && !top_left(align)) wrong("a number, or top_left");
      } while (take(','));
      if (!take(')')) wrong("',' or ')'");
    }
    return make(name, begin, numbers, align);
  }
  bool number(Numbers& numbers) {
    peek();
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc()) return false;
    at_ = static_cast<std::size_t>(end - text_.data());
    numbers.push_back(value);
    return true;
  }
  bool top_left(Align& align) {
    constexpr std::string_view name = "top_left";
    if (text_.substr(at_, name.size()) != name) return false;
    at_ += name.size();
    align = Align::top_left;
    return true;
  }

  Mask make(std::string_view name, std::size_t begin, const Numbers& n, Align align) {
    const auto is = [&](std::string_view wanted, std::size_t count, const char* numbers,
                        bool aligned = false) {
      if (name != wanted) return false;
      if (n.size() != count || (align == Align::top_left && !aligned)) {
        at_ = begin;
        wrong(fmt::format("{}({}{})", wanted, numbers, aligned ? " [, top_left]" : ""));
      }
      return true;
    };
    if (is("all", 0, "")) return {};
    if (is("causal", 0, "", true)) return Mask::causal(align);
    if (is("window", 2, "left, right", true)) return Mask::window(n[0], n[1], align);
    if (is("dilated", 3, "left, right, step", true)) return Mask::dilated(n[0], n[1], n[2], align);
    if (is("strided", 1, "stride")) return Mask::strided(n[0]);
    if (is("fixed", 2, "stride, summary")) return Mask::fixed(n[0], n[1]);
    if (is("random_blocks", 3, "block, count, seed"))
      return Mask::random_blocks(n[0], n[1], static_cast<std::uint64_t>(n[2]));
    if (name == "big_bird" && n.empty()) return Mask::big_bird();
    if (is("big_bird", 5, "block, window, global, random, seed"))
      return Mask::big_bird({n[0], n[1], n[2], n[3], static_cast<std::uint64_t>(n[4])});
    if (name == "global" && !n.empty()) return Mask::global(n);
    if (name == "documents" && !n.empty()) return Mask::documents(n);
    at_ = begin;
    wrong("all, causal, window, dilated, strided, fixed, global, random_blocks, big_bird or documents");
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Mask Mask::parse(std::string_view text) { return MaskParser(text).parse(); }

}  // namespace headway::inline v1
