"""One attention layer in PyTorch, Keras and Headway: MultiHeadAttention.from_torch, .from_keras and back."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from headway import _core
from headway._error import Error

Arrays = dict[str, Any]


def _refuse(operation: str, message: str) -> None:
    raise Error(f"{operation}: {message}", "unsupported", operation)


def _array(tensor: Any) -> Any:
    """Of a PyTorch tensor or a Keras variable, whatever its backend and device."""
    if hasattr(tensor, "detach"):
        return tensor.detach().float().cpu().numpy()
    return np.asarray(importlib.import_module("keras").ops.convert_to_numpy(tensor), np.float32)


def _make(roles: Arrays, **options: Any) -> _core.MultiHeadAttention:
    """A layer of [rows, columns] weights and biases by role: query, key, value, output."""
    layer = _core.MultiHeadAttention(bias="query.bias" in roles, generator=_core.Generator(0), **options)
    state = dict(roles)
    if "qkv.weight" in layer.state_dict():
        for kind in ("weight", "bias") if "query.bias" in roles else ("weight",):
            parts = [state.pop(f"{role}.{kind}") for role in ("query", "key", "value")]
            state[f"qkv.{kind}"] = np.concatenate(parts)
    layer.load_state_dict(state)
    return layer


def _roles(operation: str, layer: _core.MultiHeadAttention) -> Arrays:
    """The same of a layer, and a refusal of what other libraries' layers lack."""
    of = layer.options
    plain = {"kv_heads": of["heads"], "softcap": 0.0, "scale": None, "position": None}
    plain |= {"head_input": _core.HeadInput.full}
    for name, value in plain.items():
        if of[name] != value:
            _refuse(operation, f"{name} is {of[name]}; want {value}: the other layer has none")
    state = layer.state_dict()
    heads = [layer.head(h) for h in range(of["heads"])]
    roles: Arrays = {"output.weight": state["output.weight"]}
    if of["bias"]:
        roles["output.bias"] = state["output.bias"]
    for role in ("query", "key", "value"):
        for kind in ("weight", "bias") if of["bias"] else ("weight",):
            roles[f"{role}.{kind}"] = np.concatenate([getattr(head, f"{role}_{kind}").numpy() for head in heads])
    return roles


def from_torch(layer: Any) -> _core.MultiHeadAttention:
    operation = "MultiHeadAttention.from_torch"
    if not hasattr(layer, "in_proj_weight") or not hasattr(layer, "out_proj"):
        raise Error(
            f"{operation}: layer is a {type(layer).__name__}; want torch.nn.MultiheadAttention", "value", operation
        )
    if layer.bias_k is not None:
        _refuse(operation, "add_bias_kv is True; want False: there are no learned keys and values here")
    if layer.add_zero_attn:
        _refuse(operation, "add_zero_attn is True; want False: there are no keys of zeros here")
    width = layer.embed_dim
    if layer.in_proj_weight is not None:
        weights = np.split(_array(layer.in_proj_weight), 3)
    else:
        weights = [_array(getattr(layer, f"{role}_proj_weight")) for role in "qkv"]
    roles = {f"{role}.weight": weight for role, weight in zip(("query", "key", "value"), weights)}
    roles["output.weight"] = _array(layer.out_proj.weight)
    if layer.in_proj_bias is not None:
        roles |= zip((f"{role}.bias" for role in ("query", "key", "value")), np.split(_array(layer.in_proj_bias), 3))
        roles["output.bias"] = _array(layer.out_proj.bias)
    return _make(
        roles,
        model_dim=width,
        heads=layer.num_heads,
        key_dim=layer.kdim,
        value_dim=layer.vdim,
        dropout=layer.dropout,
    )


def to_torch(layer: _core.MultiHeadAttention) -> Any:
    operation, torch = "MultiHeadAttention.to_torch", importlib.import_module("torch")
    of, roles = layer.options, _roles(operation, layer)
    for name in ("head_dim", "value_head_dim"):
        if of[name] * of["heads"] != of["model_dim"]:
            _refuse(operation, f"{name} is {of[name]}; want model_dim / heads, {of['model_dim'] / of['heads']:g}")
    made = torch.nn.MultiheadAttention(
        of["model_dim"],
        of["heads"],
        dropout=of["dropout"],
        bias=of["bias"],
        kdim=of["key_dim"],
        vdim=of["value_dim"],
        batch_first=True,
    )
    names = [(made.out_proj.weight, roles["output.weight"])]
    order = ("query", "key", "value")
    if made.in_proj_weight is not None:
        names.append((made.in_proj_weight, np.concatenate([roles[f"{role}.weight"] for role in order])))
    else:
        names += [(getattr(made, f"{role[0]}_proj_weight"), roles[f"{role}.weight"]) for role in order]
    if of["bias"]:
        names.append((made.in_proj_bias, np.concatenate([roles[f"{role}.bias"] for role in order])))
        names.append((made.out_proj.bias, roles["output.bias"]))
    with torch.no_grad():
        for parameter, values in names:
            parameter.copy_(torch.from_numpy(np.array(values)))
    return made


def from_keras(layer: Any) -> _core.MultiHeadAttention:
    operation = "MultiHeadAttention.from_keras"
    if not hasattr(type(layer), "query_dense") or not hasattr(type(layer), "output_dense"):  # properties
        raise Error(
            f"{operation}: layer is a {type(layer).__name__}; want keras.layers.MultiHeadAttention", "value", operation
        )
    if not layer.built:
        raise Error(f"{operation}: the layer has no weights yet; want one that was built or called", "value", operation)
    dense = {"query": layer.query_dense, "key": layer.key_dense, "value": layer.value_dense}
    kernels = {role: _array(of.kernel) for role, of in dense.items()}  # [inputs, heads, head_dim]
    output = _array(layer.output_dense.kernel)  # [heads, value_dim, outputs]
    if any(kernel.ndim != 3 for kernel in (*kernels.values(), output)):
        _refuse(operation, "the layer attends over several axes (attention_axes); want one")
    width, heads, head_dim = kernels["query"].shape
    if output.shape[2] != width:
        _refuse(operation, f"output_shape is {output.shape[2]}; want the query's width, {width}")
    roles = {f"{role}.weight": kernel.reshape(kernel.shape[0], -1).T for role, kernel in kernels.items()}
    roles["output.weight"] = output.reshape(-1, width).T
    if layer.query_dense.bias is not None:
        roles |= {f"{role}.bias": _array(of.bias).reshape(-1) for role, of in dense.items()}
        roles["output.bias"] = _array(layer.output_dense.bias).reshape(-1)
    return _make(
        roles,
        model_dim=width,
        heads=heads,
        head_dim=head_dim,
        value_head_dim=kernels["value"].shape[2],
        key_dim=kernels["key"].shape[0],
        value_dim=kernels["value"].shape[0],
        dropout=layer.get_config()["dropout"],
    )


def to_keras(layer: _core.MultiHeadAttention) -> Any:
    operation, keras = "MultiHeadAttention.to_keras", importlib.import_module("keras")
    of, roles = layer.options, _roles(operation, layer)
    heads, width = of["heads"], of["model_dim"]
    made = keras.layers.MultiHeadAttention(
        heads, of["head_dim"], value_dim=of["value_head_dim"], dropout=of["dropout"], use_bias=of["bias"]
    )
    made.build((None, None, width), (None, None, of["value_dim"]), (None, None, of["key_dim"]))
    for role, dense in (("query", made.query_dense), ("key", made.key_dense), ("value", made.value_dense)):
        dense.kernel.assign(np.array(roles[f"{role}.weight"]).T.reshape(dense.kernel.shape))
        if of["bias"]:
            dense.bias.assign(np.array(roles[f"{role}.bias"]).reshape(dense.bias.shape))
    made.output_dense.kernel.assign(np.array(roles["output.weight"]).T.reshape(made.output_dense.kernel.shape))
    if of["bias"]:
        made.output_dense.bias.assign(np.array(roles["output.bias"]))
    return made
