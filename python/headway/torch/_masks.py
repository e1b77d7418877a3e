"""PyTorch's masks as Headway's: structure where they have any, else arrays of bool, else a bias."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack

from headway import _core
from headway.torch import _check


def settle(
    mask: Optional[Tensor], true_is_seen: bool, batch: int, queries: int, keys: int, dtype: torch.dtype
) -> tuple[Any, Optional[Tensor]]:
    """(Mask or None, bias or None) of an array that broadcasts to [B, H, T, S]. One that wants a gradient is a bias."""
    if mask is None:
        return None, None
    if not mask.requires_grad:
        known = _core._recognize_mask(to_dlpack(mask), true_is_seen, batch, queries, keys)
        if known is not None:
            return known, None
    return None, mask.to(torch.float64 if dtype == torch.float64 else torch.float32)


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
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(mask, float("-inf"))
