#include <headway/inspect/tile_map.h>

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/io/atomic_file.h>

#include "inspect/markup.h"

namespace headway::inline v1::inspect {
namespace {
constexpr double kSide = 480, kMargin = 14, kTitle = 34, kLegend = 30;

// What is gathered lies all over the picture, a pair here and there: the cells of a grid that it touches.
std::string gathered(const TilePlan& plan, std::int64_t sequence, std::int64_t head, double longest) {
  constexpr std::int64_t kCells = 160;
  std::vector<char> touched(static_cast<std::size_t>(kCells * kCells));
  const auto cell = [&](std::int64_t at) {
    return static_cast<std::int64_t>(static_cast<double>(at) / longest * kCells);
  };
  const auto mark = [&](const TilePlan::Tile& tile, const TilePlan::ResidueClass& of, std::int64_t block) {
    for (std::int64_t j = tile.begin; j < tile.end; ++j) {
      const std::uint64_t word = tile.bits < 0
                                     ? ~std::uint64_t{0}
                                     : plan.bits()[static_cast<std::size_t>(tile.bits + j - tile.begin)];
      const std::int64_t begin = block * TilePlan::kQueries;
      for (std::int64_t i = begin; i < std::min(begin + TilePlan::kQueries, of.queries); ++i) {
        if (!(word >> (i - begin) & 1)) continue;
        const std::int64_t row = cell(of.first_query + i * plan.step());
        touched[static_cast<std::size_t>(row * kCells + cell(of.first_key + j * plan.step()))] = 1;
      }
    }
  };
  for (std::int64_t r = 0; r < plan.step(); ++r) {
    const TilePlan::ResidueClass of = plan.residue_class(sequence, r);
    for (std::int64_t block = 0; block * TilePlan::kQueries < of.queries; ++block) {
      for (const TilePlan::Tile& tile : plan.class_tiles(sequence, head, r, block)) mark(tile, of, block);
    }
  }
  std::string out;
  const double side = kSide / kCells;
  for (std::int64_t row = 0; row < kCells; ++row) {
    const auto at = [&](std::int64_t column) {
      return touched[static_cast<std::size_t>(row * kCells + column)];
    };
    for (std::int64_t column = 0; column < kCells; ++column) {
      if (!at(column)) continue;
      const std::int64_t begin = column;
      while (column + 1 < kCells && at(column + 1)) ++column;
      out += fmt::format("<rect x='{:g}' y='{:g}' width='{:g}' height='{:g}' class='g'/>\n",
                         static_cast<double>(begin) * side, static_cast<double>(row) * side,
                         static_cast<double>(column - begin + 1) * side, side);
    }
  }
  return out;
}
}  // namespace

std::string tile_map(const TilePlan& plan, std::int64_t sequence, std::int64_t head) {
  const PlanShape& shape = plan.shape();
  if (sequence < 0 || sequence >= static_cast<std::int64_t>(shape.sequences.size()) || head < 0 ||
      head >= shape.heads) {
    fail(ErrorCode::value, "tile_map",
         fmt::format("sequence {} and head {} of {} sequences and {} heads", sequence, head,
                     shape.sequences.size(), shape.heads));
  }
  const auto [queries, keys] = shape.sequences[static_cast<std::size_t>(sequence)];
  const double longest = static_cast<double>(std::max<std::int64_t>({queries, keys, 1}));
  const double scale = kSide / longest;
  const double width = static_cast<double>(keys) * scale, height = static_cast<double>(queries) * scale;
  const std::string title = escaped(plan.mask().str());
  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0:.0f}' height='{1:.0f}' viewBox='0 0 {0:.0f} "
      "{1:.0f}' "
      "role='img' aria-label='{2}'>\n<style>text{{font:14px system-ui,sans-serif;fill:#222}}"
      ".t{{font-weight:600}}.f{{fill:#1f5fa8}}.p{{fill:#8fb4dc}}.g{{fill:#c77b26}}</style>\n"
      "<rect width='100%' height='100%' fill='#fff'/>\n<text x='{3}' y='22' class='t'>{2}</text>\n"
      "<g transform='translate({3} {4})'>\n",
      kSide + 2 * kMargin, height + kTitle + kLegend + kMargin, title, kMargin, kTitle);
  for (std::int64_t first = 0; first < queries; first += TilePlan::kQueries) {
    const auto tiles = plan.tiles(sequence, head, first / TilePlan::kQueries);
    const double y = static_cast<double>(first) * scale;
    const double tall = static_cast<double>(std::min(TilePlan::kQueries, queries - first)) * scale;
    for (std::size_t i = 0; i < tiles.size();) {  // neighbours of one kind are one rectangle
      std::size_t last = i;
      while (last + 1 < tiles.size() && tiles[last + 1].begin == tiles[last].end &&
             (tiles[last + 1].bits < 0) == (tiles[i].bits < 0))
        ++last;
      out += fmt::format("<rect x='{:.2f}' y='{:.2f}' width='{:.2f}' height='{:.2f}' class='{}'/>\n",
                         static_cast<double>(tiles[i].begin) * scale, y,
                         static_cast<double>(tiles[last].end - tiles[i].begin) * scale, tall,
                         tiles[i].bits < 0 ? "f" : "p");
      i = last + 1;
    }
  }
  if (plan.step() > 1) out += gathered(plan, sequence, head, longest);
  out += fmt::format(
      "<rect width='{:.1f}' height='{:.1f}' fill='none' stroke='#9aa5b1'/>\n</g>\n"
      "<g transform='translate({} {:.1f})'><rect y='-11' width='12' height='12' class='f'/>"
      "<text x='18'>seen whole</text><rect x='110' y='-11' width='12' height='12' class='p'/>"
      "<text x='128'>in part</text>",
      width, height, kMargin, kTitle + height + 22);
  if (plan.step() > 1) {
    out += fmt::format(
        "<rect x='190' y='-11' width='12' height='12' class='g'/><text x='208'>gathered</text>"
        "<text x='290'>{} queries, {} keys</text>",
        queries, keys);
  } else {
    out += fmt::format("<text x='200'>{} queries down, {} keys across</text>", queries, keys);
  }
  out += "</g>\n</svg>\n";
  return out;
}

void write_tile_map(const std::filesystem::path& path, const TilePlan& plan, std::int64_t sequence,
                    std::int64_t head) {
  io::write_file(path, tile_map(plan, sequence, head));
}

}  // namespace headway::inline v1::inspect
