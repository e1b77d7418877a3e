#pragma once
#include <cstdint>

namespace headway::inline v1::train {

/// Where a stream of batches stands: `batch` of `epoch` comes next. Two numbers that only the stream itself
/// reads; a checkpoint stores them.
struct BatchPosition {
  std::int64_t epoch = 0, batch = 0;
  bool operator==(const BatchPosition&) const = default;
};

}  // namespace headway::inline v1::train
