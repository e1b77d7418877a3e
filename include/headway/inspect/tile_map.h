#pragma once
#include <filesystem>
#include <string>

#include <headway/attention/tile_plan.h>
#include <headway/core/export.h>

namespace headway::inline v1::inspect {

/// What one head of one sequence computes, as an SVG picture: a row for each block of 64 queries, from the
/// left the keys; dark where a tile is seen whole, light where in part, white where nothing is touched.
/// Error(value) when the plan has no such sequence or head.
HEADWAY_API std::string tile_map(const TilePlan& plan, std::int64_t sequence = 0, std::int64_t head = 0);

/// tile_map() to a file, atomically.
HEADWAY_API void write_tile_map(const std::filesystem::path& path, const TilePlan& plan,
                                std::int64_t sequence = 0, std::int64_t head = 0);

}  // namespace headway::inline v1::inspect
