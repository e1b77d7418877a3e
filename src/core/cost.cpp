#include <headway/core/cost.h>

#include <utility>

namespace headway::inline v1 {
namespace {
thread_local CostTrace* current = nullptr;
}

CostTrace::CostTrace() : outer_(std::exchange(current, this)) {}
CostTrace::~CostTrace() { current = outer_; }

double CostTrace::operations() const {
  double total = 0;
  for (const Cost& cost : costs_) total += cost.operations;
  return total;
}
double CostTrace::bytes() const {
  double total = 0;
  for (const Cost& cost : costs_) total += cost.bytes;
  return total;
}

void report_cost(const char* part, double operations, double bytes) {
  if (current) current->costs_.push_back({part, operations, bytes});
}

}  // namespace headway::inline v1
