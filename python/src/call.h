#pragma once
#include <optional>
#include <utility>

#include <headway/autograd/tape.h>

#include "array.h"

namespace headway::python {

/// f() without the GIL, and its Tensor as what `like` is. Where that is no headway.Tensor, nothing is
/// recorded.
template <typename F>
nb::object run_like(nb::handle like, F&& f) {
  const bool on_tape = is_tensor(like);
  Tensor out;
  {
    const nb::gil_scoped_release release;
    std::optional<NoGrad> silent;
    if (!on_tape) silent.emplace();
    out = std::forward<F>(f)();
  }
  return export_like(out, like);
}

}  // namespace headway::python
