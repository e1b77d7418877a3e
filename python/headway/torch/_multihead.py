"""MultiheadAttention."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headway import _core
from headway.torch import _check
from headway.torch._call import Attended, attend, compiled
from headway.torch._bytes import is_transformed, is_watched
from headway.torch._masks import added, both, drawn_seed, joined, settle

_NAME = "MultiheadAttention"


def _is_emulated(dtype: torch.dtype) -> bool:
    """Whether this processor has no products of this type: its GEMMs are then several times slower than float32's."""
    return dtype == torch.float16 or (dtype == torch.bfloat16 and not _HAS_BFLOAT16)


_HAS_BFLOAT16 = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


class MultiheadAttention(nn.MultiheadAttention):
    """torch.nn.MultiheadAttention with Headway's attention inside: the same constructor, parameters and arguments.

    Args:
        embed_dim: C, a multiple of num_heads.
        num_heads: H; each has dimension C / H.
        dropout: of the weights, in training.
        bias: of all projections.
        add_bias_kv: a learned key and value join those of each sequence.
        add_zero_attn: a key and value of zeros join them.
        kdim, vdim: widths of key and value, C unless given.
        batch_first: [B, T, C] in place of [T, B, C].

    Raises:
        headway.Error: (value) for sizes that do not fit.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, *args: Any, **kwargs: Any) -> None:
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            told = f"embed_dim is {embed_dim}, num_heads {num_heads}"
            _check.fail(_NAME, f"{told}; want positive numbers, the second a divisor of the first", "value")
        if not 0 <= dropout < 1:
            _check.fail(_NAME, f"dropout is {dropout}; want 0 <= p < 1", "value")
        super().__init__(embed_dim, num_heads, dropout, *args, **kwargs)

    def _reset_parameters(self) -> None:
        self._qkv_same_embed_dim = self.in_proj_weight is not None
        super()._reset_parameters()
        self._forgo_fast_path()

    def _forgo_fast_path(self) -> None:
        # nn.TransformerEncoderLayer asks this before it computes, in evaluation, its attention itself.
        self._qkv_same_embed_dim = False

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Optional[Tensor] = None,
        need_weights: bool = True,
        attn_mask: Optional[Tensor] = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        mask: Any = None,
        position: Any = None,
        softcap: float = 0.0,
        capture: Any = None,
    ) -> tuple[Tensor, Any]:
        """Attention of queries over keys and values, projected.

        Args:
            query: [B, T, C] with batch_first, else [T, B, C]; or [T, C].
            key, value: the same with S, kdim, vdim.
            key_padding_mask: [B, S] (or [S]): bool, true is hidden; or floats to be added.
            need_weights: return the weights as well. They are those before dropout.
            attn_mask: [T, S] or [B·H, T, S]: bool, true is hidden; or floats to be added.
            average_attn_weights: over heads.
            is_causal: query i sees keys 0 … i; attn_mask, which then says the same, may be left out.
            mask: a headway.Mask or TilePlan, joined with the others. A TilePlan saves compiling where it is alone.
            position: a headway.Position: what distances add.
            softcap: scores become softcap·tanh(score/softcap) before anything is added; 0: they stay.
            capture: a headway.Capture: in place of weights, an Attended with what it asks for.

        Returns:
            (output of the query's shape, weights [B, T, S] or [B, H, T, S], without B for [T, C], or None).

        Raises:
            headway.Error: (shape), (dtype), (value) or (unsupported), naming the argument.
        """
        if isinstance(query, Tensor) and query.is_nested:
            others = (key_padding_mask, attn_mask, mask, position, capture)
            alone = query is key is value and not need_weights and not softcap and all(x is None for x in others)
            return self._forward_nested(query, is_causal, alone)
        if any(isinstance(x, Tensor) and x.is_nested for x in (key, value, key_padding_mask, attn_mask)):
            _check.fail(_NAME, "key, value or a mask is nested and query is not; want all of one kind", "unsupported")
        self._check(query, key, value, key_padding_mask, attn_mask)
        batched = query.dim() == 3
        dtype, query, key, value, parameters = self._widened(query, key, value)
        as_operator = (
            mask is None
            and position is None
            and capture is None
            and is_watched(query, key, value, key_padding_mask, attn_mask, *parameters.values())
        )
        with torch.autocast("cpu", enabled=False) if dtype is not None else nullcontext():
            apart = as_operator or torch.compiler.is_compiling()
            q, k, v = self._project(query, key, value, batched, parameters, apart)
            output, sums, weights = self._attend(
                q, k, v, key_padding_mask, attn_mask, is_causal, need_weights, average_attn_weights, mask, position,
                softcap, capture, as_operator,
            )  # fmt: skip
            output = F.linear(output.flatten(-2), parameters["out_weight"], parameters["out_bias"])
        if dtype is not None:
            output = output.to(dtype)
        if not batched:
            output = output[0]
        elif not self.batch_first:
            output = output.transpose(0, 1)
        if capture is not None:
            return output, Attended(None, weights, sums if capture.log_sum_exp else None)
        if weights is not None:
            weights = (weights if batched else weights[0]).to(output.dtype)
        return output, weights

    def _check(self, query: Any, key: Any, value: Any, key_padding_mask: Any, attn_mask: Any) -> None:
        _check.floats(_NAME, query, key, value)
        rank = query.dim()
        if rank not in (2, 3) or key.dim() != rank or value.dim() != rank:
            self._refuse(query, key, value, "all [B, T, C] or all [T, C]")
        if (query.shape[-1], key.shape[-1], value.shape[-1]) != (self.embed_dim, self.kdim, self.vdim):
            self._refuse(query, key, value, f"{self.embed_dim}, {self.kdim} and {self.vdim} columns")
        if key.shape[:-1] != value.shape[:-1]:
            self._refuse(query, key, value, "a value for each key")
        at = 0 if self.batch_first else 1
        if rank == 3 and query.shape[at] != key.shape[at]:
            self._refuse(query, key, value, f"one batch, dimension {at} of all")
        batch = query.shape[at] if rank == 3 else 1
        queries, keys = query.shape[1 - at if rank == 3 else 0], key.shape[1 - at if rank == 3 else 0]
        if key_padding_mask is not None:
            _check.mask(_NAME, "key_padding_mask", key_padding_mask, ((batch, keys),) if rank == 3 else ((keys,),))
        if attn_mask is not None:
            wanted = (queries, keys), (batch * self.num_heads, queries, keys)
            _check.mask(_NAME, "attn_mask", attn_mask, wanted)

    def _refuse(self, query: Tensor, key: Tensor, value: Tensor, wanted: str) -> None:
        told = f"query is {_check.shape(query)}, key {_check.shape(key)}, value {_check.shape(value)}"
        _check.fail(_NAME, f"{told}; want {wanted} (batch_first={self.batch_first})")

    def _widened(self, query: Tensor, key: Tensor, value: Tensor) -> Any:
        """(type of the output or None, the inputs, parameters), in float32 where narrower products are emulated."""
        parameters = {
            "q": self.q_proj_weight, "k": self.k_proj_weight, "v": self.v_proj_weight, "weight": self.in_proj_weight,
            "bias": self.in_proj_bias, "bias_k": self.bias_k, "bias_v": self.bias_v,
            "out_weight": self.out_proj.weight, "out_bias": self.out_proj.bias,
        }  # fmt: skip
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
        if query.dtype != self.out_proj.weight.dtype and not torch.is_autocast_enabled("cpu"):
            _check.fail(
                _NAME, f"query is {query.dtype}, the parameters {self.out_proj.weight.dtype}; want equal", "dtype"
            )
        if not _is_emulated(dtype):
            return None, query, key, value, parameters
        wide = {id(x): x.float() for x in (query, key, value)}
        parameters = {name: None if p is None else p.float() for name, p in parameters.items()}
        return dtype, wide[id(query)], wide[id(key)], wide[id(value)], parameters

    def _project(
        self, query: Tensor, key: Tensor, value: Tensor, batched: bool, p: dict[str, Any], apart: bool
    ) -> Any:  # fmt: skip
        """[B, T, H, D] of each, with what joins keys and values; or, unless wanted apart, all three side by side, and
        None twice."""
        same, key_is_value = query is key and key is value, key is value

        def rows(x: Tensor) -> Tensor:  # [B, T, C]
            return x[None] if not batched else x if self.batch_first else x.transpose(0, 1).contiguous()

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.num_heads, self.head_dim))

        joined = p["bias_k"] is not None or self.add_zero_attn
        if same and p["weight"] is not None:
            qkv = F.linear(rows(query), p["weight"], p["bias"])
            if not joined and not apart:
                return qkv, None, None
            q, k, v = qkv.unflatten(-1, (3, self.num_heads, self.head_dim)).unbind(-3)
        else:
            c = self.embed_dim
            biases = (None,) * 3 if p["bias"] is None else p["bias"].split(c)
            weights = (p["q"], p["k"], p["v"]) if p["weight"] is None else p["weight"].split(c)
            q = heads(F.linear(rows(query), weights[0], biases[0]))
            if key_is_value and p["weight"] is not None:
                both_bias = None if p["bias"] is None else p["bias"][c:]
                kv = F.linear(rows(key), p["weight"][c:], both_bias)
                k, v = kv.unflatten(-1, (2, self.num_heads, self.head_dim)).unbind(-3)
            else:
                k = heads(F.linear(rows(key), weights[1], biases[1]))
                v = heads(F.linear(rows(value), weights[2], biases[2]))
        for extra_k, extra_v in self._joining(p):
            k = torch.cat([k, heads(extra_k).to(k.dtype).expand(k.shape[0], 1, -1, -1)], 1)
            v = torch.cat([v, heads(extra_v).to(v.dtype).expand(v.shape[0], 1, -1, -1)], 1)
        return q, k, v

    def _joining(self, p: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
        found = [(p["bias_k"], p["bias_v"])] if p["bias_k"] is not None else []
        zero = self.out_proj.weight.new_zeros(1, 1, self.embed_dim)
        return found + [(zero, zero)] * bool(self.add_zero_attn)

    def _attend(
        self, q: Tensor, k: Any, v: Any, key_padding_mask: Any, attn_mask: Any, is_causal: bool, need_weights: bool,
        average: bool, mask: Any, position: Any, softcap: float, capture: Any, as_operator: bool,
    ) -> Any:  # fmt: skip
        batch, queries = q.shape[:2]
        joined = (self.bias_k is not None) + bool(self.add_zero_attn)
        if is_causal and not joined:
            attn_mask = None
        elif is_causal and attn_mask is None:
            keys = k.shape[1] - joined
            attn_mask = torch.ones(queries, keys, dtype=torch.bool).triu(1)
        is_causal = is_causal and not joined
        if joined:  # everyone sees what joins
            key_padding_mask, attn_mask = (
                None if m is None else F.pad(m, (0, joined)) for m in (key_padding_mask, attn_mask)
            )
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask[..., None, None, :]
        if attn_mask is not None and attn_mask.dim() == 3:
            attn_mask = attn_mask.unflatten(0, (batch, self.num_heads))
        dropout = self.dropout if self.training else 0.0
        seed = drawn_seed(_NAME) if dropout > 0 else None
        kind = (2 if average else 1) if need_weights else 0
        if as_operator:
            merged = _merged(key_padding_mask, attn_mask, q.dtype)
            output, _, weights = compiled(q, k, v, merged, seed, is_causal, None, softcap, dropout, kind, False)
            return output, None, weights if kind else None
        run = _apart if torch.compiler.is_compiling() else _run
        weights_kind = (_core.Weights.none, _core.Weights.per_head, _core.Weights.averaged)[kind]
        return run(
            q, k, v, 0 if k is not None else self.num_heads, key_padding_mask, attn_mask, is_causal, weights_kind, mask,
            position, softcap, dropout, seed, capture,
        )  # fmt: skip

    def _forward_nested(self, query: Tensor, is_causal: bool, alone: bool) -> tuple[Tensor, None]:
        """Self-attention of sequences of different lengths, one after another: nothing is padded."""
        if not alone or self.in_proj_weight is None or self.bias_k is not None or self.add_zero_attn:
            _check.fail(
                _NAME, "query is nested; want self-attention without masks, weights and keys that join", "unsupported"
            )
        self._check_nested(query)
        jagged = query.layout == torch.jagged
        if jagged:
            packed, offsets = query.values(), query.offsets().tolist()
            lengths = [end - begin for begin, end in zip(offsets, offsets[1:])]
        else:
            parts = query.unbind()
            lengths = [len(part) for part in parts]
            offsets = [0, *itertools.accumulate(lengths)]
            packed = torch.cat(parts)
        _check.floats(_NAME, packed, packed, packed)
        dtype, rows, _, _, p = self._widened(*[packed] * 3)
        with torch.autocast("cpu", enabled=False) if dtype is not None else nullcontext():
            qkv = F.linear(rows, p["weight"], p["bias"])
            dropout = self.dropout if self.training else 0.0
            call = _core._TorchCall(
                mask=_core.Mask.causal() if is_causal else None, combined=self.num_heads, query_offsets=offsets,
                key_offsets=offsets, dropout=dropout, seed=int(torch.randint(2**62, ())) if dropout else 0,
            )  # fmt: skip
            output = F.linear(attend(call, qkv, None, None, None)[0].flatten(-2), p["out_weight"], p["out_bias"])
        output = output if dtype is None else output.to(dtype)
        if jagged:  # over the query's own offsets: PyTorch adds a residual to no others
            least, most = query._maybe_min_seqlen, query._maybe_max_seqlen  # type: ignore[attr-defined]
            return torch.nested.nested_tensor_from_jagged(output, query.offsets(), None, 1, least, most), None
        return torch.nested.as_nested_tensor(list(output.split(lengths))), None

    def _check_nested(self, query: Tensor) -> None:
        """[B, T of each, C], one sequence behind the other."""

        def refuse(told: str, wanted: str) -> None:
            _check.fail(_NAME, f"query is nested and {told}; want {wanted}", "unsupported")

        if torch.compiler.is_compiling() or is_transformed() or is_watched():
            refuse("seen by torch.compile, torch.func or a recorder", "an eager call")
        if not self.batch_first:
            refuse("the layer has batch_first=False", "batch_first=True")
        if query.device.type != "cpu":
            refuse(f"on {query.device}", "it in the processor's memory")
        if query.dim() != 3 or query.size(0) == 0:
            refuse(f"has {query.dim()} dimensions, {query.size(0)} sequences", "[B, T, C] of at least one sequence")
        jagged = query.layout == torch.jagged
        if jagged and (query.lengths() is not None or query._ragged_idx != 1):  # type: ignore[attr-defined]
            refuse("has gaps or is transposed", "contiguous() of it")
        columns = query.values().shape[-1] if query.layout == torch.jagged else query.size(2)
        if columns != self.embed_dim:
            refuse(f"has {columns} columns", f"{self.embed_dim}")


def _merged(key_padding_mask: Any, attn_mask: Any, dtype: torch.dtype) -> Any:
    """One array of two, true is seen."""
    masks = [mask for mask in (key_padding_mask, attn_mask) if mask is not None]
    if all(mask.dtype == torch.bool for mask in masks):
        hidden = masks[0] | masks[1] if len(masks) == 2 else masks[0] if masks else None
        return None if hidden is None else ~hidden
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return sum(added(mask, wide) for mask in masks)


def _run(
    q: Tensor, k: Any, v: Any, combined: int, key_padding_mask: Any, attn_mask: Any, is_causal: bool, weights: Any,
    mask: Any, position: Any, softcap: float, dropout: float, seed: Any, capture: Any,
) -> Any:  # fmt: skip
    batch, queries = q.shape[:2]
    keys = queries if k is None else k.shape[1]
    hidden, bias = settle(key_padding_mask, False, batch, queries, keys, q.dtype)
    also_hidden, more_bias = settle(attn_mask, False, batch, queries, keys, q.dtype)
    if more_bias is not None:
        bias = more_bias if bias is None else bias + more_bias
    settled = both(hidden, also_hidden)
    if is_causal:
        settled = both(settled, _core.Mask.causal(_core.Align.top_left))
    stage = _core.Scores.softmaxed
    if capture is not None:
        weights, stage = capture.weights, capture.stage
    call = _core._TorchCall(
        mask=joined(settled, mask, _NAME), position=position, softcap=softcap, dropout=dropout,
        seed=0 if seed is None else int(seed), combined=combined, weights=weights, stage=stage,
    )  # fmt: skip
    return attend(call, q, k, v, bias, capture is not None and capture.log_sum_exp)


_apart = torch.compiler.disable(_run)
