#include <headway/inspect/tile_map.h>

#include <algorithm>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/io/atomic_file.h>

#include "inspect/markup.h"

namespace headway::inline v1::inspect {
namespace {
constexpr double kSide = 480, kMargin = 14, kTitle = 34, kLegend = 30;
}

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
      ".t{{font-weight:600}}.f{{fill:#1f5fa8}}.p{{fill:#8fb4dc}}</style>\n"
      "<rect width='100%' height='100%' fill='#fff'/>\n<text x='{3}' y='22' class='t'>{2}</text>\n"
      "<g transform='translate({3} {4})'>\n",
      kSide + 2 * kMargin, height + kTitle + kLegend + kMargin, title, kMargin, kTitle);
  const auto draw = [&](std::span<const TilePlan::Tile> tiles, std::int64_t first, std::int64_t count,
                        const TilePlan::ResidueClass& of, std::int64_t step) {
    const auto at = [&](std::int64_t begin, std::int64_t number) {
      return static_cast<double>(begin + number * step) * scale;
    };
    // A class's queries and keys lie apart: what is gathered of them is a grid of single rows.
    const std::int64_t rows = step > 1 ? count : 1, tall = step > 1 ? 1 : count;
    for (std::int64_t row = 0; row < rows; ++row) {
      const double y = at(of.first_query, first + row), height_of = static_cast<double>(tall) * scale;
      for (std::size_t i = 0; i < tiles.size();) {  // neighbours of one kind are one rectangle
        std::size_t last = i;
        while (last + 1 < tiles.size() && tiles[last + 1].begin == tiles[last].end &&
               (tiles[last + 1].bits < 0) == (tiles[i].bits < 0))
          ++last;
        const char* kind = tiles[i].bits < 0 ? "f" : "p";
        const std::int64_t begin = tiles[i].begin, end = tiles[last].end;
        for (std::int64_t j = begin; j<end; j += step> 1 ? 1 : end - begin) {
          const double wide = static_cast<double>(step > 1 ? 1 : end - begin) * scale;
          out += fmt::format("<rect x='{:.2f}' y='{:.2f}' width='{:.2f}' height='{:.2f}' class='{}'/>\n",
                             at(of.first_key, j), y, wide, height_of, kind);
        }
        i = last + 1;
      }
    }
  };
  const auto draw_rows = [&](const TilePlan::ResidueClass& of, std::int64_t step, const auto& tiles_of) {
    for (std::int64_t first = 0; first < of.queries; first += TilePlan::kQueries)
      draw(tiles_of(first / TilePlan::kQueries), first, std::min(TilePlan::kQueries, of.queries - first), of,
           step);
  };
  draw_rows({0, queries, 0, keys}, 1, [&](std::int64_t block) { return plan.tiles(sequence, head, block); });
  for (std::int64_t r = 0; plan.step() > 1 && r < plan.step(); ++r) {
    draw_rows(plan.residue_class(sequence, r), plan.step(),
              [&](std::int64_t block) { return plan.class_tiles(sequence, head, r, block); });
  }
  out += fmt::format(
      "<rect width='{:.1f}' height='{:.1f}' fill='none' stroke='#9aa5b1'/>\n</g>\n"
      "<g transform='translate({} {:.1f})'><rect y='-11' width='12' height='12' class='f'/>"
      "<text x='18'>seen whole</text><rect x='110' y='-11' width='12' height='12' class='p'/>"
      "<text x='128'>in part</text><text x='200'>{} queries down, {} keys across</text></g>\n</svg>\n",
      width, height, kMargin, kTitle + height + 22, queries, keys);
  return out;
}

void write_tile_map(const std::filesystem::path& path, const TilePlan& plan, std::int64_t sequence,
                    std::int64_t head) {
  io::write_file(path, tile_map(plan, sequence, head));
}

}  // namespace headway::inline v1::inspect
