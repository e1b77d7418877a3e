#pragma once
#include <cstdint>
#include <string_view>

#include <headway/core/export.h>

namespace headway::inline v1 {

/// Where a tensor's bytes are. `meta` has none: every op computes shapes, types and costs there, and nothing
/// else.
enum class Device : std::uint8_t { cpu, cuda, meta };

HEADWAY_API std::string_view name_of(Device device);

}  // namespace headway::inline v1
