#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace headway::inline v1::text {

/// A paragraph or heading of a help page.
struct Block {
  std::string tag;
  std::string id;
  std::vector<std::string> lines;  // its visible text, cut at <br>, white space normalised, no empty lines
};

/// The paragraphs (p, h1 ... h6) of a LibreOffice help page's content, in document order, without program
/// text and with one alternative where a paragraph has words for several modules or systems. Any bytes give
/// some answer.
std::vector<Block> help_blocks(std::string_view html);

/// The text of a fragment of markup without `note` and `title` elements; white space normalised.
std::string markup_text(std::string_view markup);

}  // namespace headway::inline v1::text
