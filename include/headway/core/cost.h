#pragma once
#include <string>
#include <vector>

#include <headway/core/export.h>

namespace headway::inline v1 {

/// What one op, or one part of it, has to do. Multiply and add count as two operations.
struct Cost {
  std::string part;  ///< "linear", "attention.scores", "attention.softmax", "attention.values", "matmul", …
  double operations = 0;  ///< floating-point operations of the definition, visible pairs only
  double bytes = 0;       ///< tensors read and written once each
};

/// While an object of this type lives, the ops this thread calls (forward only) report their costs to it. On
/// the meta device nothing else happens, so a model of any size can be priced.
class HEADWAY_API CostTrace {
 public:
  CostTrace();
  ~CostTrace();
  CostTrace(const CostTrace&) = delete;
  CostTrace& operator=(const CostTrace&) = delete;
  const std::vector<Cost>& costs() const { return costs_; }
  double operations() const;
  double bytes() const;

 private:
  friend HEADWAY_API void report_cost(const char* part, double operations, double bytes);
  CostTrace* outer_;
  std::vector<Cost> costs_;
};

/// Called by ops; does nothing without a CostTrace.
HEADWAY_API void report_cost(const char* part, double operations, double bytes);

}  // namespace headway::inline v1
