#include <headway/inspect/page.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headway/io/atomic_file.h>

#include "inspect/markup.h"
#include "inspect/page_parts.h"

namespace headway::inline v1::inspect {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kOperation = "heads_page";

std::string base64(const std::vector<std::uint8_t>& bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) group = group << 8 | (j < left ? bytes[i + j] : 0u);
    for (std::size_t j = 0; j < 4; ++j) out += j <= left ? kAlphabet[group >> (18 - 6 * j) & 63u] : '=';
  }
  return out;
}

// A weight's square root in 8 bits: small weights, which long sentences consist of, keep their relative
// precision.
std::uint8_t quantised(float weight) {
  return static_cast<std::uint8_t>(std::lround(255 * std::sqrt(std::clamp(weight, 0.0F, 1.0F))));
}

// [layers][heads] strings of T·S bytes.
Json layers_of(const std::vector<Tensor>& layers, const char* kind, std::size_t queries, std::size_t keys) {
  Json out = Json::array();
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const Tensor& map = layers[l];
    const auto rows = static_cast<std::int64_t>(queries);
    const auto columns = static_cast<std::int64_t>(keys);
    if (!map.defined() || map.rank() != 3 || map.size(1) != rows || map.size(2) != columns) {
      fail(ErrorCode::shape, kOperation,
           fmt::format("{} of layer {} is {}; want [H, {}, {}], one row and column for each token", kind, l,
                       map.defined() ? map.describe() : "undefined", queries, keys));
    }
    const std::vector<float> weights = map.to_vector<float>();
    Json heads = Json::array();
    const std::size_t area = queries * keys;
    for (std::int64_t h = 0; h < map.size(0); ++h) {
      std::vector<std::uint8_t> bytes(area);
      const float* first = weights.data() + static_cast<std::size_t>(h) * area;
      std::transform(first, first + area, bytes.begin(), quantised);
      heads.push_back(base64(bytes));
    }
    out.push_back(std::move(heads));
  }
  return out;
}

Json example_of(const PageExample& example) {
  if (example.target_written.size() != example.target_tokens.size()) {
    fail(ErrorCode::shape, kOperation,
         fmt::format("target_written has {} tokens, target_tokens {}; want one written at each position",
                     example.target_written.size(), example.target_tokens.size()));
  }
  const std::size_t sources = example.source_tokens.size();
  const std::size_t targets = example.target_tokens.size();
  return {{"source", example.source},
          {"translation", example.translation},
          {"sourceTokens", example.source_tokens},
          {"targetTokens", example.target_tokens},
          {"written", example.target_written},
          {"cross", layers_of(example.maps.cross, "cross", targets, sources)},
          {"encoder", layers_of(example.maps.encoder_self, "encoder_self", sources, sources)},
          {"decoder", layers_of(example.maps.decoder_self, "decoder_self", targets, targets)}};
}

// Within a script element "<" is the only character that HTML could take for its own ("</script", "<!--").
std::string script_safe(const Json& json) {
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  }
  return out;
}

}  // namespace

std::string heads_page(const std::vector<PageExample>& examples, const PageOptions& options) {
  if (examples.empty()) fail(ErrorCode::value, kOperation, "there is no sentence pair; want at least one");
  Json list = Json::array();
  for (const PageExample& example : examples) list.push_back(example_of(example));
  const Json data{
      {"format_version", 1}, {"layer", options.layer}, {"head", options.head}, {"examples", std::move(list)}};
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n"
      "<style>\n{2}</style>\n</head>\n<body>\n<header><h1>{0}</h1><p id=\"subtitle\">{1}</p></header>\n{3}"
      "<script type=\"application/json\" "
      "id=\"data\">{4}</script>\n<script>\n{5}</script>\n</body>\n</html>\n",
      escaped(options.title), escaped(options.subtitle), kPageStyle, kPageBody, script_safe(data),
      kPageScript);
}

void write_heads_page(const std::filesystem::path& path, const std::vector<PageExample>& examples,
                      const PageOptions& options) {
  io::write_file(path, heads_page(examples, options));
}

}  // namespace headway::inline v1::inspect
