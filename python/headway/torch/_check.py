"""What is wrong with an argument, in the library's words."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from headway._error import Error

FLOATS = (torch.float32, torch.bfloat16, torch.float64, torch.float16)


def fail(operation: str, message: str, code: str = "shape") -> NoReturn:
    raise Error(f"{operation}: {message}", code, operation)


def shape(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"


def tensor(operation: str, name: str, x: object) -> Tensor:
    """x, if it is a dense tensor in the processor's memory."""
    if not isinstance(x, Tensor):
        fail(operation, f"{name} is a {type(x).__name__}; want a torch.Tensor", "value")
    if x.layout != torch.strided or x.is_nested:
        fail(operation, f"{name} is {'nested' if x.is_nested else x.layout}; want a dense tensor", "unsupported")
    if x.device.type != "cpu":
        fail(operation, f"{name} is on {x.device}; want it in the processor's memory", "unsupported")
    return x


def floats(operation: str, query: object, key: object, value: object) -> None:
    """All are dense tensors here, of one floating type that the library has."""
    dtype = getattr(query, "dtype", None)
    for x in (query, key, value):
        if (
            not isinstance(x, Tensor)
            or x.dtype is not dtype
            or not x.is_cpu
            or x.layout is not torch.strided
            or x.is_nested
        ):
            break
    else:
        if dtype in FLOATS:
            return
    names = ("query", "key", "value")
    told = ", ".join(f"{name} {shape(tensor(operation, name, x))}" for name, x in zip(names, (query, key, value)))
    fail(operation, f"{told}; want float32, bfloat16, float16 or float64, one for all three", "dtype")


def mask(operation: str, name: str, x: object, wanted: tuple[tuple[int, ...], ...]) -> None:
    """x is boolean or floating, of one of these shapes."""
    dtype = tensor(operation, name, x).dtype
    assert isinstance(x, Tensor)
    if dtype != torch.bool and not dtype.is_floating_point:
        fail(operation, f"{name} is {shape(x)}; want bool, or floats to be added", "dtype")
    if tuple(x.shape) not in wanted:
        fail(operation, f"{name} is {shape(x)}; want {' or '.join(str(list(s)) for s in wanted)}")
