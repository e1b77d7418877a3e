"""scaled_dot_product_attention."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn.attention.bias import CausalBias, CausalVariant

from headway import _core
from headway.torch import _check
from headway.torch._call import Attended, attend, compiled
from headway.torch._bytes import is_watched
from headway.torch._masks import both, drawn_seed, joined, settle

_NAME = "scaled_dot_product_attention"


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Optional[Tensor] = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Optional[float] = None,
    enable_gqa: bool = False,
    *,
    mask: Any = None,
    position: Any = None,
    softcap: float = 0.0,
    capture: Any = None,
) -> Any:
    """softmax(Q·Kᵀ·scale + mask)·V for every head, as torch.nn.functional.scaled_dot_product_attention.

    Args:
        query: [..., H, T, D], float32, bfloat16, float64 (the slow, exact path) or float16 (computed in float32).
        key, value: [..., G, S, D] and [..., G, S, Dv]; leading dimensions broadcast. G is H, 1, or with
            enable_gqa a divisor of H.
        attn_mask: broadcasts to [..., H, T, S]: bool, true is seen; or floats, added to the scores, -inf hides, which
            may want a gradient.
        dropout_p: probability of dropping a weight; drawn from PyTorch's generator.
        is_causal: query i sees keys 0 … i (top-left), joined with attn_mask.
        scale: 1/sqrt(D) unless given.
        enable_gqa: query head h uses key/value head h·G/H.
        mask: a headway.Mask or TilePlan, joined with the others. A TilePlan saves compiling where it is alone.
        position: a headway.Position: what distances add.
        softcap: scores become softcap·tanh(score/softcap) before anything is added; 0: they stay.
        capture: a headway.Capture: what to return beside the output.

    Returns:
        [..., H, T, Dv] of the query's type; with `capture` an Attended that holds it. A query that sees no key gets 0.

    Raises:
        headway.Error: (shape), (dtype), (value) or (unsupported), naming the argument.
    """
    _check.floats(_NAME, query, key, value)
    if min(query.dim(), key.dim(), value.dim()) < 2:
        shapes = ", ".join(f"{n} {_check.shape(x)}" for n, x in (("query", query), ("key", key), ("value", value)))
        _check.fail(_NAME, f"{shapes}; want [..., T, D]")
    if query.dtype == torch.float16:
        wide = scaled_dot_product_attention(
            query.float(), key.float(), value.float(), attn_mask, dropout_p, is_causal, scale, enable_gqa,
            mask=mask, position=position, softcap=softcap, capture=capture,
        )  # fmt: skip
        return wide._replace(output=wide.output.half()) if capture is not None else wide.half()
    if query.dim() == key.dim() == value.dim() == 4 and query.shape[0] == key.shape[0] == value.shape[0]:
        leading = None
    else:
        query, key, value, attn_mask, leading = _as_heads(query, key, value, attn_mask)
    heads, key_heads = query.shape[1], key.shape[1]
    if (heads != key_heads or key_heads != value.shape[1]) and not (
        heads
        and key_heads == value.shape[1]
        and (key_heads == 1 or (enable_gqa and key_heads and heads % key_heads == 0))
    ):
        wanted = "equal heads, or a divisor of the query's" if enable_gqa else "equal heads (enable_gqa shares them)"
        _check.fail(_NAME, f"query has {heads} heads, key {key_heads}, value {value.shape[1]}; want {wanted}")
    if not 0 <= dropout_p < 1:
        if dropout_p != 1:
            _check.fail(_NAME, f"dropout_p is {dropout_p}; want 0 <= p <= 1", "value")
        value, dropout_p = value * 0, 0.0  # every weight is dropped
    if attn_mask is not None:
        attn_mask, alignment = _causal_bias(attn_mask)
        if alignment is not None:
            mask = both(mask, alignment)
    if attn_mask is not None:
        wanted_shape = (query.shape[0], heads, query.shape[2], key.shape[2])
        _check.tensor(_NAME, "attn_mask", attn_mask)
        attn_mask = _broadcastable(attn_mask, wanted_shape)

    seed = drawn_seed(_NAME) if dropout_p > 0 else None
    extras = mask is not None or position is not None or capture is not None
    if not extras and is_watched(query, key, value, attn_mask):
        output = compiled(query, key, value, attn_mask, seed, is_causal, scale, softcap, dropout_p, 0, True)[0]
    else:
        run = _apart if torch.compiler.is_compiling() else _run
        output, sums, weights = run(
            query, key, value, attn_mask, is_causal, scale, softcap, dropout_p, seed, mask, position, capture
        )
    if leading is not None:
        output = output.reshape(*leading, *output.shape[2:]) if leading else output[0, 0]
    if capture is None:
        return output
    return Attended(output, weights, sums if capture.log_sum_exp else None)


def _run(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any, is_causal: bool, scale: Any, softcap: float,
    dropout: float, seed: Any, mask: Any, position: Any, capture: Any,
) -> Any:  # fmt: skip
    settled, bias = settle(attn_mask, True, query.shape[0], query.shape[2], key.shape[2], query.dtype)
    if is_causal:
        settled = both(settled, _core.Mask.causal(_core.Align.top_left))
    options = {} if capture is None else {"weights": capture.weights, "stage": capture.stage}
    call = _core._TorchCall(
        mask=joined(settled, mask, _NAME), position=position, scale=scale, softcap=softcap, dropout=dropout,
        seed=0 if seed is None else int(seed), heads_first=True, **options,
    )  # fmt: skip
    return attend(call, query, key, value, bias, capture is not None and capture.log_sum_exp)


_apart = torch.compiler.disable(_run)


def _as_heads(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any) -> Any:
    """Four dimensions each, and the query's leading ones: fewer are a single head or sequence, more are one batch."""
    if query.dim() == key.dim() == value.dim() == 2:
        return query[None, None], key[None, None], value[None, None], attn_mask, ()
    rank = max(query.dim(), key.dim(), value.dim(), 4)
    tensors = [x.reshape((1,) * (rank - x.dim()) + x.shape) for x in (query, key, value)]
    try:
        batch = torch.broadcast_shapes(*(x.shape[:-3] for x in tensors))
    except RuntimeError:
        _check.fail(
            _NAME,
            f"query is {_check.shape(query)}, key {_check.shape(key)}, value {_check.shape(value)}; want leading "
            "dimensions that broadcast",
        )
    flat = [x.expand(*batch, *x.shape[-3:]).flatten(0, rank - 4) for x in tensors]
    leading = (*batch, flat[0].shape[1])[-(max(query.dim(), key.dim(), value.dim()) - 2) :]
    if isinstance(attn_mask, Tensor) and attn_mask.dim() > 4:
        if attn_mask.dim() > rank or any(n not in (1, m) for n, m in zip(attn_mask.shape[-4::-1], batch[::-1])):
            wanted = [*batch, flat[0].shape[1], query.shape[-2], key.shape[-2]]
            _check.fail(_NAME, f"attn_mask is {_check.shape(attn_mask)}; want what broadcasts to {wanted}")
        attn_mask = attn_mask.expand(*batch, *attn_mask.shape[-3:]).flatten(0, rank - 4)
    return *flat, attn_mask, leading


def _causal_bias(attn_mask: Any) -> tuple[Any, Any]:
    """torch.nn.attention.bias's values say what they mean."""
    if not isinstance(attn_mask, CausalBias):
        return attn_mask, None
    upper = attn_mask.variant == CausalVariant.UPPER_LEFT
    return None, _core.Mask.causal(_core.Align.top_left if upper else _core.Align.bottom_right)


def _broadcastable(attn_mask: Tensor, wanted: tuple[int, ...]) -> Tensor:
    if attn_mask.dtype != torch.bool and not attn_mask.dtype.is_floating_point:
        _check.fail(_NAME, f"attn_mask is {_check.shape(attn_mask)}; want bool, or floats to be added", "dtype")
    if attn_mask.dim() > 4 or any(n not in (1, m) for n, m in zip(attn_mask.shape[::-1], wanted[::-1])):
        _check.fail(_NAME, f"attn_mask is {_check.shape(attn_mask)}; want what broadcasts to {list(wanted)}")
    return attn_mask
