#pragma once
#include <headway/core/export.h>

#define HEADWAY_VERSION_MAJOR 0
#define HEADWAY_VERSION_MINOR 1
#define HEADWAY_VERSION_PATCH 0

namespace headway::inline v1 {
/// The version of the library that runs, as "major.minor.patch" (the header's may differ: shared libraries).
HEADWAY_API const char* version();
}  // namespace headway::inline v1
