#pragma once
#include <vector>

#include <headway/nn/module.h>

namespace headway::inline v1::nn {

enum class PositionKind {
  sinusoidal,  ///< constant (Vaswani 2017, section 3.5)
  learned      ///< a parameter for each position, up to a length fixed when the model is made
};

struct PositionOptions {
  PositionKind kind = PositionKind::sinusoidal;
  std::int64_t max_length = 0;  ///< P
  std::int64_t width = 0;       ///< C
  bool halves = false;          ///< sinusoids: all sines, then all cosines, as Marian orders them
};

/// Vectors added to the embeddings: one row for each position of a sequence, counted from 0.
class HEADWAY_API Positions : public Module {
 public:
  Positions(const PositionOptions& options, Generator& generator);
  const Tensor& table() const { return table_; }  ///< [P, C]

 private:
  Tensor table_;
};

/// [length, width]: column 2i is sin(p/10000^(2i/width)), column 2i + 1 the cosine of the same.
/// `halves`: all sines, (width + 1)/2 of them, before the cosines.
HEADWAY_API Tensor sinusoidal_positions(std::int64_t length, std::int64_t width, bool halves = false);

/// The position of each row of a packed batch within its sequence: [N] int32.
HEADWAY_API Tensor position_ids(const std::vector<std::int64_t>& offsets);

}  // namespace headway::inline v1::nn
