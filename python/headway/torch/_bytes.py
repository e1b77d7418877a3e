"""Tensors as bytes that the library can read, and whether they are what they seem."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils.dlpack import to_dlpack

from headway._error import Error

is_transformed = torch._C._are_functorch_transforms_active
is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
is_batched = torch._C._functorch.is_batchedtensor
_Transform = torch._C._functorch.TransformType
_PLAIN = torch.Tensor.__torch_dispatch__


def exported(x: Optional[Tensor]) -> object:
    """A DLPack capsule over x's bytes. What PyTorch has only marked as negated or zero is written out first."""
    if x is None:
        return None
    if torch._C._functorch.is_legacy_batchedtensor(x):
        message = "many gradients at once (is_grads_batched, vectorize=True) are not known; want torch.func.jacrev"
        raise Error(f"attention: {message}", "unsupported", "attention")
    try:
        if x.is_neg():
            x = x.resolve_neg()
        if x._is_zerotensor():
            x = x.clone()
        return to_dlpack(x)
    except (RuntimeError, BufferError, TypeError) as error:
        message = f"a {type(x).__name__} has no bytes that could be read ({str(error).splitlines()[0]})"
        raise Error(f"attention: {message}; want a plain torch.Tensor", "unsupported", "attention") from error


def has_tangent(x: Optional[Tensor]) -> bool:
    """Whether forward-mode differentiation, which is on, has something to say of x."""
    if x is None:
        return False
    try:  # inside an operator autograd, which knows, is switched off
        with torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.AutogradFunctionality, False):
            return forward_ad.unpack_dual(x).tangent is not None
    except RuntimeError:  # where it stays off nobody can tell: a tangent must not get lost
        return True


def refuse_recording() -> None:
    """What is not one of PyTorch's operators would stand in a recorded graph as the numbers of today."""
    if torch.jit.is_tracing() or (torch._C._len_torch_dispatch_stack() and get_proxy_mode() is not None):
        message = "a graph is being recorded, into which masks, positions and captures of Headway's do not go"
        raise Error(f"attention: {message}; want attn_mask and is_causal alone", "unsupported", "attention")


def is_watched(*tensors: object) -> bool:
    """Whether someone keeps a record of PyTorch's operators or stands in for them (torch.compile, torch.jit.trace,
    make_fx, fake tensors, subclasses with a dispatch of their own): then attention must be one of them."""
    if torch.compiler.is_compiling():
        return True
    transforms = [t.key() for t in torch._C._functorch.get_interpreter_stack() or ()] if is_transformed() else []
    if not (
        torch._C._len_torch_dispatch_stack()
        or torch.jit.is_tracing()
        or any(_dispatches(x) for x in tensors if type(x) is not Tensor)
        or _Transform.Functionalize in transforms
    ):
        return False
    known = (_Transform.Vmap, _Transform.Functionalize)
    tangent = forward_ad._current_level >= 0 and any(has_tangent(x) for x in tensors if isinstance(x, Tensor))
    if tangent or any(t not in known for t in transforms):
        message = "a graph is being recorded, or tensors are fake, inside torch.func's gradients or forward mode"
        raise Error(f"attention: {message}; want one of the two", "unsupported", "attention")
    return True


def _dispatches(x: object) -> bool:
    return isinstance(x, Tensor) and type(x).__torch_dispatch__ is not _PLAIN
