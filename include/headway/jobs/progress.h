#pragma once
#include <cstdint>
#include <functional>

namespace headway::inline v1::jobs {

/// Told how much of a job is done: texts, tokens or images, of all that there are.
using OnProgress = std::function<void(std::int64_t done, std::int64_t total)>;

}  // namespace headway::inline v1::jobs
