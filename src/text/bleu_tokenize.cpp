#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/core/quote.h>
#include <headway/text/bleu.h>

#include "text/metric_input.h"
#include "text/utf8.h"

namespace headway::inline v1::text {
namespace {

// A global substitution on pairs of neighbours, left to right and without overlap, as a regular expression of
// two character classes does it: where both match, `emit` writes the replacement and the scan goes on after
// the pair.
template <typename First, typename Second, typename Emit>
std::u32string replace_pairs(const std::u32string& text, First first, Second second, Emit emit) {
  std::u32string out;
  out.reserve(text.size() + text.size() / 2);
  std::size_t i = 0;
  while (i < text.size()) {
    if (i + 1 < text.size() && first(text[i]) && second(text[i + 1])) {
      emit(out, text[i], text[i + 1]);
      i += 2;
    } else {
      out.push_back(text[i++]);
    }
  }
  return out;
}

template <typename Class>
std::u32string space_around(const std::u32string& text, Class belongs) {
  std::u32string out;
  out.reserve(text.size() * 2);
  for (const char32_t c : text) {
    if (belongs(c)) {
      out += U' ';
      out += c;
      out += U' ';
    } else {
      out += c;
    }
  }
  return out;
}

void after_first_and_second(std::u32string& out, char32_t a, char32_t b) {
  out += a;
  out += U' ';
  out += b;
  out += U' ';
}
void around_first(std::u32string& out, char32_t a, char32_t b) {
  out += U' ';
  out += a;
  out += U' ';
  out += b;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// ASCII punctuation and symbols but for ' , - . which the later rules judge by their neighbours.
bool is_13a_symbol(char32_t c) {
  return (c >= U'{' && c <= U'~') || (c >= U'[' && c <= U'`') || (c >= U' ' && c <= U'&') ||
         (c >= U'(' && c <= U'+') || (c >= U':' && c <= U'@') || c == U'/';
}

std::u32string tokenize_13a(std::string_view sentence) {
  std::string text(sentence);
  replace_all(text, "<skipped>", "");
  replace_all(text, "-\n", "");
  replace_all(text, "\n", " ");
  replace_all(text, "&quot;", "\"");
  replace_all(text, "&amp;", "&");
  replace_all(text, "&lt;", "<");
  replace_all(text, "&gt;", ">");
  const auto digit = [](char32_t c) { return c >= U'0' && c <= U'9'; };
  const auto other = [](char32_t c) { return c < U'0' || c > U'9'; };
  const auto point = [](char32_t c) { return c == U'.' || c == U','; };
  const auto dash = [](char32_t c) { return c == U'-'; };
  std::u32string line = space_around(to_utf32(" " + text + " "), is_13a_symbol);
  line = replace_pairs(line, other, point, after_first_and_second);
  line = replace_pairs(line, point, other, around_first);
  return replace_pairs(line, digit, dash, after_first_and_second);
}

std::u32string tokenize_intl(std::string_view sentence) {
  const auto other = [](char32_t c) { return !is_number(c); };
  std::u32string line = replace_pairs(to_utf32(sentence), other, is_punctuation, after_first_and_second);
  line = replace_pairs(line, is_punctuation, other, around_first);
  return space_around(line, is_symbol);
}

std::u32string tokenize(std::string_view sentence, BleuTokenizer tokenizer) {
  switch (tokenizer) {
    case BleuTokenizer::none:
      return to_utf32(sentence);
    case BleuTokenizer::v13a:
      return tokenize_13a(sentence);
    case BleuTokenizer::intl:
      return tokenize_intl(sentence);
    case BleuTokenizer::chars:
      return space_around(to_utf32(sentence), [](char32_t) { return true; });
  }
  fail(ErrorCode::value, "bleu", "tokenizer has an unknown value; want one of BleuTokenizer");
}

}  // namespace

std::string bleu_tokenize(std::string_view sentence, BleuTokenizer tokenizer) {
  std::string out;
  for (const std::u32string& word : split_words(tokenize(sentence, tokenizer))) {
    if (!out.empty()) out += ' ';
    out += to_utf8(word);
  }
  return out;
}

BleuTokenizer bleu_tokenizer(std::string_view name) {
  if (name == "13a") return BleuTokenizer::v13a;
  if (name == "intl") return BleuTokenizer::intl;
  if (name == "char") return BleuTokenizer::chars;
  if (name == "none") return BleuTokenizer::none;
  fail(ErrorCode::value, "bleu", fmt::format("tokenizer is {}; want 13a, intl, char or none", quoted(name)));
}

std::string_view name_of(BleuTokenizer tokenizer) {
  switch (tokenizer) {
    case BleuTokenizer::none:
      return "none";
    case BleuTokenizer::v13a:
      return "13a";
    case BleuTokenizer::intl:
      return "intl";
    case BleuTokenizer::chars:
      return "char";
  }
  return "?";
}

BleuSmoothing bleu_smoothing(std::string_view name) {
  if (name == "exp") return BleuSmoothing::exp;
  if (name == "floor") return BleuSmoothing::floor;
  if (name == "add-k") return BleuSmoothing::add_k;
  if (name == "none") return BleuSmoothing::none;
  fail(ErrorCode::value, "bleu",
       fmt::format("smoothing is {}; want exp, floor, add-k or none", quoted(name)));
}

std::string_view name_of(BleuSmoothing smoothing) {
  switch (smoothing) {
    case BleuSmoothing::none:
      return "none";
    case BleuSmoothing::exp:
      return "exp";
    case BleuSmoothing::floor:
      return "floor";
    case BleuSmoothing::add_k:
      return "add-k";
  }
  return "?";
}

}  // namespace headway::inline v1::text
