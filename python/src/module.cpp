#include "bindings.h"

NB_MODULE(_core, m) {
  using namespace headway::python;
  // A predicate holds its globals, which may hold the mask: a cycle that no collector sees, and harmless at
  // the end.
  nanobind::set_leak_warnings(false);
  m.doc() = "Headway's C++ library. Import headway instead: its modules give these names their places.";
  bind_error();
  bind_core(m);
  bind_pickle(m);
  bind_tensor(m);
  bind_mask(m);
  bind_position(m);
  bind_attention(m);
  bind_torch(m);
  bind_nn(m);
  bind_multi_head_attention(m);
  bind_ops(m);
  bind_text(m);
  bind_models(m);
  bind_train(m);
  bind_io(m);
  bind_hub(m);
  bind_hub_tokenizer(m);
}
