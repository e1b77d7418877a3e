#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <headway/attention/mask.h>
#include <headway/attention/tile_plan.h>

namespace headway::python {

/// A Mask as Python has it. One that holds a Python predicate becomes a Mask only when the lengths are known:
/// the predicate is then asked, on the calling thread, for a table of all pairs at once. What interval
/// arithmetic cannot express is compiled once for the last shape and kept, unless an array in the mask could
/// have changed.
class PythonMask {
 public:
  using Make = std::function<Mask(const PlanShape&)>;
  PythonMask() = default;
  /// `constant`: no array of the caller's is in it.
  PythonMask(Mask mask, bool constant) : mask_(std::move(mask)), constant_(constant) {}
  PythonMask(Make make, std::string name, bool constant)
      : make_(std::move(make)), name_(std::move(name)), constant_(constant) {}

  bool constant() const { return constant_; }
  /// Holds no predicate: bounds() and visible() can be asked.
  bool plain() const { return !make_; }
  const Mask& mask() const { return mask_; }
  std::string str() const { return plain() ? mask_.str() : name_; }
  /// The mask for sequences of these lengths. Needs the GIL.
  Mask resolve(const PlanShape& shape) const { return plain() ? mask_ : make_(shape); }
  /// Compiled for these lengths; the last one is kept. Needs the GIL, and releases it while it compiles.
  TilePlan plan(const PlanShape& shape) const;
  /// Whether a call wants plan(): interval arithmetic does not do.
  bool wants_plan() const { return !plain() || !mask_.bounds(); }

 private:
  Mask mask_;
  Make make_;
  std::string name_;
  bool constant_ = true;
  // Shared by copies of the value, which say the same.
  std::shared_ptr<TilePlan> kept_ = std::make_shared<TilePlan>();
};

PythonMask join(const std::vector<PythonMask>& masks,
                const std::function<Mask(const std::vector<Mask>&)>& operation,
                const std::function<std::string(const std::vector<std::string>&)>& name);

}  // namespace headway::python
