#include "text/html.h"

#include <fmt/format.h>
#include <libxml/HTMLparser.h>
#include <libxml/parser.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>

#include <headway/core/error.h>
#include <headway/text/corpus.h>

namespace headway::inline v1::text {
namespace {

struct FreeDocument {
  void operator()(xmlDoc* document) const { xmlFreeDoc(document); }
};
using Document = std::unique_ptr<xmlDoc, FreeDocument>;

Document parse(std::string_view html) {
  if (html.size() > static_cast<std::size_t>(std::numeric_limits<int>::max() / 2)) {
    fail(ErrorCode::format, "read HTML", fmt::format("page is {} bytes; want less than 1 GiB", html.size()));
  }
  xmlInitParser();  // before several threads parse; it knows itself whether it has run
  return Document(
      htmlReadMemory(html.data(), static_cast<int>(html.size()), nullptr, "UTF-8",
                     HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET));
}

std::string_view view(const xmlChar* text) {
  return text == nullptr ? std::string_view{} : reinterpret_cast<const char*>(text);
}

std::string attribute(const xmlNode* node, const char* name) {
  xmlChar* value = xmlGetProp(node, reinterpret_cast<const xmlChar*>(name));
  std::string out(view(value));
  xmlFree(value);
  return out;
}

bool has_attribute(const xmlNode* node, const char* name) {
  return xmlHasProp(node, reinterpret_cast<const xmlChar*>(name)) != nullptr;
}

template <std::size_t n>
bool one_of(std::string_view name, const std::array<std::string_view, n>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::array<std::string_view, 7> kBlockTags{"p", "h1", "h2", "h3", "h4", "h5", "h6"};
constexpr std::array<std::string_view, 6> kSilentTags{"pre", "code", "script", "style", "noscript", "footer"};
constexpr std::array<std::string_view, 5> kProgramClasses{"code", "codeintable", "smathcode", "bascode",
                                                          "pycode"};
constexpr std::array<std::string_view, 3> kUnreadTags{"note", "title", "script"};

// The recursion follows the document's depth, which libxml2 itself limits to 256 elements without
// HTML_PARSE_HUGE.
bool is_silent(const xmlNode* node) {
  return one_of(view(node->name), kSilentTags) || one_of(attribute(node, "class"), kProgramClasses);
}

// A page hides the words for other modules and operating systems inside a "switchinline" element. Where
// nothing in it is visible (the viewer's script picks one), the first alternative reads as well as any.
const xmlNode* first_alternative(const xmlNode* node) {
  if (attribute(node, "class") != "switchinline") return nullptr;
  const xmlNode* first = nullptr;
  for (const xmlNode* child = node->children; child != nullptr; child = child->next) {
    if (child->type != XML_ELEMENT_NODE) continue;
    if (!has_attribute(child, "hidden")) return nullptr;
    if (first == nullptr) first = child;
  }
  return first;
}

void collect_text(const xmlNode* node, std::string& text) {
  const xmlNode* shown = first_alternative(node);
  for (const xmlNode* child = node->children; child != nullptr; child = child->next) {
    if (child->type == XML_TEXT_NODE) {
      // Line ends of the file are only white space: '\n' stands for <br> here.
      for (const char c : view(child->content)) text.push_back(c == '\n' || c == '\r' ? ' ' : c);
    } else if (child->type == XML_ELEMENT_NODE && !is_silent(child) &&
               (child == shown || !has_attribute(child, "hidden"))) {
      if (view(child->name) == "br") {
        text.push_back('\n');
      } else if (!one_of(view(child->name), kBlockTags)) {
        collect_text(child, text);
      }
    }
  }
}

std::vector<std::string> cut_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (auto line = normalize_space(text.substr(0, end)); !line.empty()) lines.push_back(std::move(line));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

void collect_blocks(const xmlNode* node, std::vector<Block>& blocks) {
  for (const xmlNode* child = node->children; child != nullptr; child = child->next) {
    if (child->type != XML_ELEMENT_NODE || is_silent(child)) continue;
    if (one_of(view(child->name), kBlockTags)) {
      std::string text;
      collect_text(child, text);
      blocks.push_back({std::string(view(child->name)), attribute(child, "id"), cut_lines(text)});
    }
    collect_blocks(child, blocks);
  }
}

const xmlNode* find_content(const xmlNode* node) {
  for (const xmlNode* child = node; child != nullptr; child = child->next) {
    if (child->type != XML_ELEMENT_NODE) continue;
    if (attribute(child, "id") == "DisplayArea") return child;
    if (const xmlNode* found = find_content(child->children)) return found;
  }
  return nullptr;
}

void collect_markup(const xmlNode* node, std::string& text) {
  for (const xmlNode* child = node; child != nullptr; child = child->next) {
    if (child->type == XML_TEXT_NODE || child->type == XML_CDATA_SECTION_NODE) {
      text += view(child->content);
    } else if (child->type == XML_ELEMENT_NODE && !one_of(view(child->name), kUnreadTags)) {
      if (one_of(view(child->name), kBlockTags) || view(child->name) == "l" || view(child->name) == "lb")
        text += ' ';
      collect_markup(child->children, text);
    }
  }
}

}  // namespace

std::vector<Block> help_blocks(std::string_view html) {
  std::vector<Block> blocks;
  const Document document = parse(html);
  if (!document) return blocks;
  if (const xmlNode* content = find_content(xmlDocGetRootElement(document.get())))
    collect_blocks(content, blocks);
  return blocks;
}

std::string markup_text(std::string_view markup) {
  std::string text;
  if (const Document document = parse(markup)) collect_markup(xmlDocGetRootElement(document.get()), text);
  return normalize_space(text);
}

}  // namespace headway::inline v1::text
