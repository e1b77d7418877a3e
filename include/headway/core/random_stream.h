#pragma once
#include <cstdint>

#include <headway/core/generator.h>

namespace headway::inline v1::core {

/// A generator of its own for the coordinates (a, b), say a step and a micro-batch: a function of `of`'s seed
/// and of them alone, whatever was drawn before. Its seed is two Philox words, so that the streams of 2^24
/// coordinates are all different but for a chance of 2^-17.
HEADWAY_API Generator random_stream(const Generator& of, std::uint64_t a, std::uint64_t b = 0);

}  // namespace headway::inline v1::core
