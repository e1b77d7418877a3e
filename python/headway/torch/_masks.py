"""PyTorch's masks as Headway's: structure where they have any, else arrays of bool, else a bias."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd import forward_ad

from headway import _core
from headway.torch import _check
from headway.torch._bytes import exported, has_tangent, is_batched, is_transformed, is_wrapped


def settle(
    mask: Optional[Tensor], true_is_seen: bool, batch: int, queries: int, keys: int, dtype: torch.dtype
) -> tuple[Any, Optional[Tensor]]:
    """(Mask or None, bias or None) of an array that broadcasts to [B, H, T, S]. One that wants a gradient, or that
    torch.func has wrapped, is a bias."""
    if mask is None:
        return None, None
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    if is_wrapped(mask):
        return None, added(~mask if mask.dtype == torch.bool and true_is_seen else mask, wide).to(wide)
    if not mask.requires_grad and not (forward_ad._current_level >= 0 and has_tangent(mask)):
        known = _core._recognize_mask(exported(mask), true_is_seen, batch, queries, keys)
        if known is not None:
            return known, None
    return None, mask.to(wide)


def drawn_seed(operation: str) -> Tensor:
    """A number from PyTorch's generator, one for the call."""
    if torch.compiler.is_compiling() or not is_transformed():
        return torch.randint(2**62, ())
    try:
        seed = torch.randint(2**62, ())
    except RuntimeError:  # vmap's way of saying randomness="error"
        seed = None
    if seed is None or is_batched(seed):
        _check.fail(operation, 'dropout under vmap draws once for all; want randomness="same"', "unsupported")
    return seed


def both(a: Any, b: Any) -> Any:
    """What two masks see, either of which may be None."""
    return b if a is None else a if b is None else a & b


def joined(settled: Any, mask: Any, operation: str) -> Any:
    """The caller's own mask with what PyTorch's arguments say."""
    if mask is None:
        return settled
    if not isinstance(mask, (_core.Mask, _core.TilePlan)):
        _check.fail(operation, f"mask is a {type(mask).__name__}; want a headway.Mask or TilePlan", "value")
    if settled is None:
        return mask
    return settled & (mask.mask if isinstance(mask, _core.TilePlan) else mask)


def added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask, true is hidden, as numbers to be added."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, float("-inf"))
