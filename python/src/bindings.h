#pragma once
#include <nanobind/nanobind.h>

/// Each binds one subject to the extension module `headway._core`.
namespace headway::python {

void bind_error();
void bind_core(nanobind::module_& m);
void bind_tensor(nanobind::module_& m);
void bind_pickle(nanobind::module_& m);
void bind_mask(nanobind::module_& m);
void bind_position(nanobind::module_& m);
void bind_attention(nanobind::module_& m);
void bind_torch(nanobind::module_& m);
void bind_nn(nanobind::module_& m);
void bind_multi_head_attention(nanobind::module_& m);
void bind_ops(nanobind::module_& m);
void bind_models(nanobind::module_& m);
void bind_train(nanobind::module_& m);
void bind_trainer(nanobind::module_& m);
void bind_text(nanobind::module_& m);
void bind_io(nanobind::module_& m);
void bind_hub(nanobind::module_& m);
void bind_hub_tokenizer(nanobind::module_& m);

}  // namespace headway::python
