#pragma once
#include <cstdint>

namespace headway::test {

/// Bytes that operator new has handed out and not taken back, in this whole program; memory_peak.cpp replaces
/// it.
std::int64_t allocated_bytes();
/// The most of them since the last restart_peak().
std::int64_t peak_bytes();
void restart_peak();

}  // namespace headway::test
