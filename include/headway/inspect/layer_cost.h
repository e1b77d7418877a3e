#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <headway/core/export.h>

namespace headway::inline v1::inspect {

/// One call of a self-attention layer without mask.
struct LayerShape {
  std::int64_t batch = 1;      ///< B
  std::int64_t length = 0;     ///< n
  std::int64_t model_dim = 0;  ///< C
  std::int64_t heads = 0;      ///< h
  std::int64_t head_dim = 0;   ///< d; 0: C/h
};

struct PartCost {
  std::string part;       ///< "projections", "scores", "softmax", "values", "output"
  std::string formula;    ///< of the operations, for one sequence: "2·n·C·3·h·d"
  double operations = 0;  ///< multiply and add are two
  double bytes = 0;       ///< tensors read and written once each; scores and weights never leave the cache
};

struct LayerCost {
  LayerShape shape;  ///< with head_dim filled in
  std::vector<PartCost> parts;
  double unfused_bytes =
      0;  ///< the [B, h, n, n] array that scores make where the three inner parts are not one
  /// Length at which scores, softmax and values together need as many operations as both projections:
  /// h·n²·(4d + 4) = 8·n·C·h·d, so n = 2·C·d/(d + 1).
  double overtaking_length = 0;
  HEADWAY_API double operations() const;
};

/// What the ops report on the meta device, where they compute nothing. Error(shape) naming what does not fit.
HEADWAY_API LayerCost layer_cost(const LayerShape& shape);

/// Median seconds of forward passes of the parts that are one kernel each.
struct LayerTimes {
  double projections = 0, attention = 0, output = 0;
};
HEADWAY_API LayerTimes measure_layer(const LayerShape& shape, int repeats);

}  // namespace headway::inline v1::inspect
