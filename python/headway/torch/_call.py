"""One call of attention on PyTorch's tape: forward, backward, and what torch.compile sees of them."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn, Optional

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.dlpack import from_dlpack

from headway import _core
from headway._error import Error
from headway.torch._bytes import exported, has_tangent, is_transformed, is_wrapped, refuse_recording
from headway.torch._masks import both, settle

NAME = "attention"


class Attended(NamedTuple):
    """What a Capture asked for; None where it did not.

    Attributes:
        output: as without a capture; None from a layer, whose output is its own.
        weights: float32 (float64 of float64) [B, H, T, S], averaged [B, T, S], of the stage that was asked for.
        log_sum_exp: float32 (float64) [B, H, T]; -inf where nothing is seen. Differentiable.
    """

    output: Optional[Tensor]
    weights: Optional[Tensor]
    log_sum_exp: Optional[Tensor]


def _imported(capsule: object) -> Optional[Tensor]:
    return None if capsule is None else from_dlpack(capsule)


def _forward(call: Any, query: Tensor, key: Any, value: Any, bias: Any, sums: bool) -> list[Any]:
    results = _core._torch_forward(
        call, exported(query), exported(key), exported(value), exported(bias), log_sum_exp=sums
    )
    return [_imported(x) for x in results]


def _backward(call: Any, d_output: Tensor, saved: Any, d_sums: Optional[Tensor], needs: Any) -> list[Any]:
    query, key, value, bias, output, sums = saved
    results = _core._torch_backward(
        call,
        exported(d_output),
        exported(query),
        exported(key),
        exported(value),
        exported(bias),
        exported(output),
        exported(sums),
        exported(d_sums),
        needs,
    )
    return [_imported(x) for x in results]


def _through_weights(call: Any, saved: Any, d_weights: Tensor, needs: Any) -> list[Optional[Tensor]]:
    """Gradients by way of the weights that were returned: dS = P∘(dP - Σ_j P∘dP), arrays of T·S elements like them."""
    query, key, value, bias, _, _ = saved
    if call.position is not None or call.softcap or call.stage != _core.Scores.softmaxed:
        message = "returned weights have no gradient with a position, a softcap or at another stage; want them detached"
        raise Error(f"{NAME}: {message}", "unsupported", NAME)
    per_head = _core._TorchCall(
        mask=call.mask, scale=call.scale, heads_first=call.heads_first, combined=call.combined,
        weights=_core.Weights.per_head,
    )  # fmt: skip
    p = _forward(per_head, query, key, value, bias, False)[2]
    dp = d_weights
    if call.weights == _core.Weights.averaged:
        dp = (d_weights / p.shape[1]).unsqueeze(1)
    ds = p * (dp - (p * dp).sum(-1, keepdim=True))
    scale = call.scale
    if call.combined:
        parts = query.unflatten(-1, (3, call.combined, -1))
        q, k = parts[..., 0, :, :].transpose(1, 2), parts[..., 1, :, :].transpose(1, 2)
    elif call.heads_first:
        q, k = query, key
    else:
        q, k = query.transpose(1, 2), key.transpose(1, 2)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    shared = q.shape[1] // max(k.shape[1], 1)
    all_k = k.repeat_interleave(shared, 1) if shared > 1 else k
    dq = (ds @ all_k.to(ds.dtype) * scale).to(q.dtype)
    dk = ds.transpose(-2, -1) @ q.to(ds.dtype) * scale
    dk = (dk.unflatten(1, (-1, shared)).sum(2) if shared > 1 else dk).to(q.dtype)
    d_bias = ds.sum_to_size(bias.shape) if bias is not None and needs[3] else None
    if call.combined:
        rows = torch.stack([dq, dk, torch.zeros_like(dk)], 2).permute(0, 3, 2, 1, 4)
        return [rows.reshape(query.shape), None, None, d_bias]
    if not call.heads_first:
        dq, dk = dq.transpose(1, 2), dk.transpose(1, 2)
    return [dq if needs[0] else None, dk if needs[1] else None, None, d_bias]


def _gradients(call: Any, saved: Any, d_output: Any, d_sums: Any, d_weights: Any, needs: Any) -> list[Any]:
    """Of query, key, value and bias, by way of whichever results have a gradient; None where none arrives."""
    grads: list[Any] = [None] * 4
    if d_output is not None or d_sums is not None:
        d_output = torch.zeros_like(saved[4]) if d_output is None else d_output
        grads = _backward(call, d_output, saved, d_sums, needs)
    if d_weights is not None:
        for i, more in enumerate(_through_weights(call, saved, d_weights, needs)):
            grads[i] = more if grads[i] is None else grads[i] if more is None else grads[i] + more
    return grads


def _one_by_one(function: Any, size: int, in_dims: Any, arguments: Any) -> Any:
    """What torch.vmap asks of a function: its results for each element of the mapped dimension, side by side."""
    results = []
    for i in range(size):
        at = (x if dim is None else x.select(dim, i) for x, dim in zip(arguments, in_dims))
        results.append(function(*at))
    if not results:
        raise Error(f"{NAME}: vmap over a dimension of size 0; want at least 1", "shape", NAME)
    outputs = tuple(None if column[0] is None else torch.stack(column) for column in zip(*results))
    return outputs, tuple(None if x is None else 0 for x in outputs)


def _no_tangent() -> NoReturn:
    message = "forward-mode differentiation (jvp, jacfwd, dual tensors) is not known here; want backward (vjp, jacrev)"
    raise Error(f"{NAME}: {message}", "unsupported", NAME)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(query: Tensor, key: Any, value: Any, bias: Any, call: Any) -> Any:
        return tuple(_forward(call, query, key, value, bias, True))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:4], *output[:2])
        ctx.call = inputs[4]

    @staticmethod
    def backward(ctx: Any, d_output: Any, d_sums: Any = None, d_weights: Any = None) -> Any:
        arguments = (ctx.call, tuple(ctx.needs_input_grad[:4]), d_output, d_sums, d_weights, *ctx.saved_tensors)
        if (
            torch.is_grad_enabled()
            or is_transformed()
            or any(x is not None and is_wrapped(x) for x in ctx.saved_tensors)
        ):
            return (*_Gradients.apply(*arguments), None)
        return (*_Gradients.forward(*arguments), None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _one_by_one(_Attention.apply, info.batch_size, in_dims, arguments)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> NoReturn:
        _no_tangent()


class _Gradients(torch.autograd.Function):
    """The backward where someone may ask for more: gradients of it, or many at once."""

    @staticmethod
    def forward(call: Any, needs: Any, d_output: Any, d_sums: Any, d_weights: Any, *saved: Any) -> Any:
        return tuple(_gradients(call, saved, d_output, d_sums, d_weights, needs))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *d_gradients: Any) -> NoReturn:
        raise Error(f"{NAME}: the gradient has no gradient; want the first derivative alone", "unsupported", NAME)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        dims = [None, None, *in_dims[2:]]
        return _one_by_one(_Gradients.apply, info.batch_size, dims, arguments)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> NoReturn:
        _no_tangent()


def attend(call: Any, query: Tensor, key: Any, value: Any, bias: Any, sums: bool = False) -> Any:
    """(output, log_sum_exp or None, weights or None) of an eager call; heads as the call says."""
    refuse_recording()
    if (
        torch.is_grad_enabled()
        and (
            query.requires_grad
            or (key is not None and (key.requires_grad or value.requires_grad))
            or (bias is not None and bias.requires_grad)
        )
        or is_transformed()
    ):
        return _Attention.apply(query, key, value, bias, call)
    if forward_ad._current_level >= 0 and any(has_tangent(x) for x in (query, key, value, bias)):
        _no_tangent()
    return _forward(call, query, key, value, bias, sums)


# What torch.compile sees: operators on tensors and numbers alone. The mask is a tensor that broadcasts to
# [B, H, T, S], of which the eager call makes what it can; its gradient is that of a bias.


def _compiled_call(
    query: Tensor, key: Tensor, mask: Optional[Tensor], seed: Optional[Tensor], causal: bool,
    scale: Optional[float], softcap: float, dropout: float, weights: int, heads_first: bool,
) -> tuple[Any, Optional[Tensor]]:  # fmt: skip
    at = -2 if heads_first else -3
    settled, bias = settle(mask, True, query.shape[0], query.shape[at], key.shape[at], query.dtype)
    if causal:
        settled = both(settled, _core.Mask.causal(_core.Align.top_left))
    call = _core._TorchCall(
        mask=settled, scale=scale, softcap=softcap, dropout=dropout, seed=0 if seed is None else int(seed.item()),
        heads_first=heads_first, weights=_core.Weights(weights),
    )  # fmt: skip
    return call, bias


@torch.library.custom_op("headway::attention", mutates_args=())
def compiled(
    query: Tensor, key: Tensor, value: Tensor, mask: Optional[Tensor], seed: Optional[Tensor], causal: bool,
    scale: Optional[float], softcap: float, dropout: float, weights: int, heads_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    call, bias = _compiled_call(
        query, key, mask, seed, causal, scale, softcap, dropout, weights, heads_first
    )  # fmt: skip
    if forward_ad._current_level >= 0 and any(has_tangent(x) for x in (query, key, value, bias)):
        _no_tangent()
    output, sums, shown = _forward(call, query, key, value, bias, True)
    return output, sums, query.new_empty(0) if shown is None else shown


def _shapes(query: Tensor, key: Tensor, value: Tensor, heads_first: bool) -> tuple[Any, Any, Any]:
    batch, heads, queries = (
        query.shape[0],
        query.shape[-3 if heads_first else -2],
        query.shape[-2 if heads_first else -3],
    )
    exact = torch.float64 if query.dtype == torch.float64 else torch.float32
    output = query.new_empty(batch, queries, heads, value.shape[-1])
    sums = query.new_empty(heads, batch, queries, dtype=exact).transpose(0, 1)
    return output.transpose(1, 2) if heads_first else output, sums, exact


@compiled.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, mask: Any, seed: Any, causal: bool,
    scale: Any, softcap: float, dropout: float, weights: int, heads_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    output, sums, exact = _shapes(query, key, value, heads_first)
    batch, heads, queries = sums.shape
    keys = key.shape[-2 if heads_first else -3]
    shape = {0: (0,), 1: (batch, heads, queries, keys), 2: (batch, queries, keys)}[weights]
    return output, sums, query.new_empty(shape, dtype=exact if weights else query.dtype)


@torch.library.custom_op("headway::attention_backward", mutates_args=())
def compiled_backward(
    d_output: Optional[Tensor], d_sums: Optional[Tensor], d_weights: Optional[Tensor], query: Tensor, key: Tensor,
    value: Tensor, mask: Optional[Tensor], seed: Optional[Tensor], output: Tensor, sums: Tensor, causal: bool,
    scale: Optional[float], softcap: float, dropout: float, weights: int, heads_first: bool, needs_mask: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    call, bias = _compiled_call(
        query, key, mask, seed, causal, scale, softcap, dropout, weights, heads_first
    )  # fmt: skip
    if needs_mask and bias is None and mask is not None:  # recognized as structure, and learned all the same
        bias = mask.to(sums.dtype)
    saved, needs = (query, key, value, bias, output, sums), (True, True, True, needs_mask)
    grads = _gradients(call, saved, d_output, d_sums, d_weights, needs)
    made = [torch.zeros_like(x) if g is None else g for g, x in zip(grads, (query, key, value))]
    d_mask = grads[3].to(mask.dtype) if needs_mask and mask is not None else query.new_empty(0)
    return made[0], made[1], made[2], d_mask


@compiled_backward.register_fake
def _(
    d_output: Any, d_sums: Any, d_weights: Any, query: Tensor, key: Tensor,
    value: Tensor, mask: Any, seed: Any, output: Tensor, sums: Tensor, causal: bool,
    scale: Any, softcap: float, dropout: float, weights: int, heads_first: bool, needs_mask: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip

    def like(x: Tensor) -> Tensor:
        made: Tensor = (
            x.transpose(1, 2).new_empty(x.transpose(1, 2).shape).transpose(1, 2)
            if heads_first
            else x.new_empty(x.shape)
        )
        return made

    d_mask = mask.new_empty(mask.shape) if needs_mask else query.new_empty(0)
    return like(query), like(key), like(value), d_mask


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    query, key, value, mask, seed, *ctx.rest = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(query, key, value, mask, seed, output[0], output[1])


def _walk(ctx: Any, d_output: Any, d_sums: Any, d_weights: Any) -> Any:
    needs_mask = ctx.needs_input_grad[3]
    if d_output is None and d_sums is None and (d_weights is None or not ctx.rest[4]):
        return (None,) * 11
    grads = compiled_backward(
        d_output, d_sums, d_weights if ctx.rest[4] else None, *ctx.saved_tensors, *ctx.rest, needs_mask
    )
    return (*grads[:3], grads[3] if needs_mask else None, *(None,) * 7)


compiled.register_autograd(_walk, setup_context=_keep)


def _walk_twice(ctx: Any, *d_gradients: Any) -> NoReturn:
    _Gradients.backward(ctx, *d_gradients)


compiled_backward.register_autograd(_walk_twice)


@compiled.register_vmap
def _(info: Any, in_dims: Any, *arguments: Any) -> Any:
    return _one_by_one(compiled, info.batch_size, in_dims, arguments)


@compiled_backward.register_vmap
def _(info: Any, in_dims: Any, *arguments: Any) -> Any:
    return _one_by_one(compiled_backward, info.batch_size, in_dims, arguments)
