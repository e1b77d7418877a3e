"""headway.torch beside PyTorch: the same results and gradients for every argument, but for the differences that
docs/python.md lists.

Wants PyTorch (bench/requirements.txt); ctest runs it under the label peers.
"""

import copy
import itertools
import pickle
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import headway as hw

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
import headway.torch as ht  # noqa: E402

EPSILON = {torch.float32: 2.0**-23, torch.float64: 2.0**-52, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}


def close(got, wanted, dtype, factor=32):
    """Room for some roundings at the size of the largest element."""
    assert got.shape == wanted.shape
    room = factor * EPSILON[dtype] * max(1.0, wanted.abs().max().item() if wanted.numel() else 0)
    error = (got.double() - wanted.double()).abs().max().item() if wanted.numel() else 0
    assert error <= room, f"off by {error:.3g}, room {room:.3g}"


def textbook(q, k, v, visible=None, bias=None, causal=False, scale=None):
    """Attention in float64 from elementary operations; rows that see nothing are 0. Differentiable."""
    group = q.shape[-3] // k.shape[-3]
    k, v = k.repeat_interleave(group, -3), v.repeat_interleave(group, -3)
    s = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        s = s + bias
    if visible is not None:
        s = s.masked_fill(~visible, float("-inf"))
    if causal:
        s = s.masked_fill(torch.ones(s.shape[-2:], dtype=torch.bool).triu(1), float("-inf"))
    blind = (s == float("-inf")).all(-1, keepdim=True)
    p = torch.softmax(s.masked_fill(blind, 0), -1).masked_fill(blind, 0)
    return p @ v, p


def gradients(outputs, seeds, inputs):
    return torch.autograd.grad(outputs, inputs, seeds, allow_unused=True)


def compare_gradients(got, wanted, dtype):
    for ours, theirs in zip(got, wanted):
        if theirs is not None:
            close(torch.zeros_like(theirs) if ours is None else ours, theirs, dtype, factor=128)


class TestFunction:
    @pytest.mark.parametrize("seed", range(60))
    def test_outputs_and_gradients_are_the_textbooks_for_random_arguments(self, seed):
        draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        dtype = draw.choice([torch.float32, torch.float32, torch.bfloat16, torch.float64, torch.float16])
        key_heads, group = draw.choice([1, 2, 3]), draw.choice([1, 2])
        batch, queries, keys = draw.choice([1, 3]), draw.choice([1, 5, 70]), draw.choice([1, 6, 70])
        dim, value_dim = draw.choice([1, 8, 40]), draw.choice([4, 24])

        def normal(*shape):
            x = torch.randn(*shape, generator=generator).to(dtype)
            if draw.random() < 0.5 and len(shape) == 4:  # as a projection leaves heads
                x = x.transpose(1, 2).contiguous().transpose(1, 2)
            return x.requires_grad_()

        q = normal(batch, key_heads * group, queries, dim)
        k, v = normal(batch, key_heads, keys, dim), normal(batch, key_heads, keys, value_dim)
        kind = draw.choice(["none", "bool", "float", "learned", "causal", "padding", "infinite"])
        shape = draw.choice(
            [(queries, keys), (batch, 1, queries, keys), (1, 1, 1, keys), (batch, key_heads * group, queries, 1)]
        )
        options, visible, bias = {"scale": draw.choice([None, 0.3]), "enable_gqa": group > 1}, None, None
        if kind in ("bool", "infinite"):
            visible = torch.rand(*shape, generator=generator) < 0.6
            options["attn_mask"] = (
                visible if kind == "bool" else torch.zeros(shape).masked_fill(~visible, float("-inf"))
            )
        elif kind == "padding":
            visible = torch.arange(keys) < torch.randint(0, keys + 1, (batch, 1, 1, 1), generator=generator)
            options["attn_mask"] = visible
        elif kind in ("float", "learned"):
            bias = torch.randn(*shape, generator=generator).to(dtype if dtype != torch.float16 else torch.float32)
            options["attn_mask"] = bias.requires_grad_() if kind == "learned" else bias
        options["is_causal"] = kind == "causal"

        out = ht.scaled_dot_product_attention(q, k, v, **options)
        wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
        wide_bias = None if bias is None else bias.detach().double().requires_grad_(bias.requires_grad)
        wanted, _ = textbook(*wide, visible, wide_bias, kind == "causal", options["scale"])
        assert out.dtype == dtype
        close(out, wanted, dtype)
        d_out = torch.randn(out.shape, generator=generator).to(dtype)
        learned = [bias] if kind == "learned" else []
        got = gradients(out, d_out, [q, k, v, *learned])
        compare_gradients(got, gradients(wanted, d_out.double(), [*wide, *[wide_bias] * len(learned)]), dtype)

    @pytest.mark.parametrize(
        "shapes",
        [
            ((5, 8), (6, 8), (6, 4)),
            ((3, 5, 8), (3, 6, 8), (3, 6, 8)),
            ((2, 2, 3, 5, 8), (2, 2, 3, 6, 8), (2, 2, 3, 6, 8)),
            ((4, 2, 5, 8), (1, 2, 6, 8), (1, 2, 6, 8)),
            ((4, 2, 5, 8), (2, 6, 8), (4, 2, 6, 8)),
            ((2, 2, 0, 8), (2, 2, 6, 8), (2, 2, 6, 8)),
            ((0, 2, 5, 8), (0, 2, 6, 8), (0, 2, 6, 8)),
        ],
    )
    def test_any_number_of_leading_dimensions(self, shapes):
        torch.manual_seed(0)
        q, k, v = (torch.randn(shape) for shape in shapes)
        close(ht.scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v), torch.float32)

    def test_five_dimensions_with_a_mask_of_as_many(self):
        torch.manual_seed(0)
        q, k, v = (torch.randn(2, 3, 2, 5, 8) for _ in range(3))
        for shape in ((2, 3, 2, 5, 5), (2, 1, 1, 5, 5), (5, 5)):
            mask = torch.randn(shape)
            got = ht.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            close(got, F.scaled_dot_product_attention(q, k, v, attn_mask=mask), torch.float32)

    def test_a_row_that_sees_nothing_is_zero_with_zero_gradients(self):
        q, k, v = (torch.randn(1, 2, 3, 8, requires_grad=True) for _ in range(3))
        for mask in (
            torch.tensor([[True] * 3, [False] * 3, [True] * 3]),
            torch.tensor([[0.0] * 3, [-torch.inf] * 3, [0.5] * 3]),
        ):
            out = ht.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            assert (out[:, :, 1] == 0).all()
            grads = gradients(out.sum(), None, [q, k, v])
            assert all(g.isfinite().all() for g in grads) and (grads[0][:, :, 1] == 0).all()
        nothing = ht.scaled_dot_product_attention(q, k[:, :, :0], v[:, :, :0])
        assert nothing.shape == (1, 2, 3, 8) and (nothing == 0).all()

    def test_causal_is_joined_with_a_mask_rather_than_refused_or_dropped(self):
        q, k, v = (torch.randn(2, 2, 6, 8) for _ in range(3))
        visible = torch.rand(6, 6) < 0.7
        got = ht.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=True)
        close(got.double(), textbook(*(x.double() for x in (q, k, v)), visible, causal=True)[0], torch.float32)

    def test_torchs_own_causal_biases_are_understood(self):
        from torch.nn.attention.bias import causal_lower_right, causal_upper_left

        q, k, v = torch.randn(1, 2, 4, 8), torch.randn(1, 2, 7, 8), torch.randn(1, 2, 7, 8)
        for make in (causal_lower_right, causal_upper_left):
            bias = make(4, 7)
            wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            close(ht.scaled_dot_product_attention(q, k, v, attn_mask=bias), wanted, torch.float32)

    def test_dropout_follows_torchs_seed_and_its_gradient_is_that_of_what_was_kept(self):
        q, k, v = (torch.randn(2, 2, 64, 16, requires_grad=True) for _ in range(3))

        def run(seed):
            torch.manual_seed(seed)
            return ht.scaled_dot_product_attention(q, k, v, dropout_p=0.4)

        assert torch.equal(run(1), run(1)) and not torch.equal(run(1), run(2))
        kept = torch.eye(64).expand(2, 2, 64, 64).contiguous()
        torch.manual_seed(1)
        weights = ht.scaled_dot_product_attention(q.detach(), k.detach(), kept, dropout_p=0.4)
        assert abs((weights == 0).float().mean() - 0.4) < 0.02
        d_out = torch.randn(2, 2, 64, 16)
        close(gradients(run(1), d_out, [v])[0], weights.transpose(-2, -1) @ d_out, torch.float32, factor=128)
        mean = torch.stack([run(seed).detach() for seed in range(300)]).mean(0)
        assert (mean - F.scaled_dot_product_attention(q, k, v)).abs().max() < 0.35
        assert (ht.scaled_dot_product_attention(q, k, v, dropout_p=1.0) == 0).all()

    def test_results_may_be_changed_in_place_and_inputs_that_were_are_noticed(self):
        q, k, v = (torch.randn(1, 2, 3, 8, requires_grad=True) for _ in range(3))
        leaf = q * 1
        out = ht.scaled_dot_product_attention(leaf, k, v)
        leaf += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()
        ht.scaled_dot_product_attention(q, k, v).mul_(2).detach_()

    def test_a_gradient_of_the_gradient_is_refused(self):
        q = torch.randn(1, 1, 3, 8, requires_grad=True)
        with pytest.raises(hw.Error, match="the gradient has no gradient"):
            torch.autograd.grad(ht.scaled_dot_product_attention(q, q, q).sum(), q, create_graph=True)

    def test_gradients_are_those_of_finite_differences(self):
        q, k, v = (torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
        bias = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)

        def both(*inputs):
            capture = hw.Capture(weights=hw.Weights.averaged, log_sum_exp=True)
            q, k, v, bias = inputs
            return tuple(ht.scaled_dot_product_attention(q, k, v, bias, scale=0.7, capture=capture))

        assert torch.autograd.gradcheck(both, (q, k, v, bias))


class TestOurs:
    """What PyTorch's function has not."""

    def test_masks_positions_and_softcap_are_those_of_headway(self):
        q, k, v = (torch.randn(2, 3, 20, 8) for _ in range(3))
        for options in (
            {"mask": hw.Mask.window(3, 2) | hw.Mask.global_([0])},
            {"mask": hw.Mask.where(lambda at: (at.query + at.key) % 3 > 0)},
            {"position": hw.Position.alibi()},
            {"position": hw.Position.rope(), "softcap": 5.0},
        ):
            wanted = hw.attention(*(x.transpose(1, 2) for x in (q, k, v)), **options).transpose(1, 2)
            assert torch.equal(ht.scaled_dot_product_attention(q, k, v, **options), wanted)

    def test_a_mask_joins_those_of_torch(self):
        q, k, v = (torch.randn(2, 3, 20, 8) for _ in range(3))
        visible = torch.rand(20, 20) < 0.7
        got = ht.scaled_dot_product_attention(q, k, v, visible, is_causal=True, mask=hw.Mask.window(4, 4))
        plan = hw.TilePlan.of(hw.Mask.window(4, 4), batch=2, heads=3, queries=20, keys=20)
        assert torch.equal(got, ht.scaled_dot_product_attention(q, k, v, visible, is_causal=True, mask=plan))
        near = (torch.arange(20)[:, None] - torch.arange(20)).abs() <= 4
        close(got, textbook(*(x.double() for x in (q, k, v)), visible & near, causal=True)[0], torch.float32)

    def test_positions_have_gradients(self):
        q, k, v = (torch.randn(1, 2, 6, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
        rope = hw.Position.rope()
        assert torch.autograd.gradcheck(lambda *x: ht.scaled_dot_product_attention(*x, position=rope), (q, k, v))

    def test_a_capture_brings_weights_and_sums(self):
        q, k, v = (torch.randn(2, 3, 5, 8) for _ in range(3))
        capture = hw.Capture(weights=hw.Weights.per_head, log_sum_exp=True)
        seen = ht.scaled_dot_product_attention(q, k, v, is_causal=True, capture=capture)
        output, weights = textbook(*(x.double() for x in (q, k, v)), causal=True)
        close(seen.output, output, torch.float32)
        close(seen.weights, weights, torch.float32)
        assert seen.log_sum_exp.shape == (2, 3, 5)
        only = ht.scaled_dot_product_attention(q, k, v, capture=hw.Capture())
        assert only.weights is None and only.log_sum_exp is None

    def test_weights_behind_a_position_have_no_gradient_and_say_so(self):
        q = torch.randn(1, 2, 3, 8, requires_grad=True)
        capture = hw.Capture(weights=hw.Weights.per_head)
        seen = ht.scaled_dot_product_attention(q, q, q, position=hw.Position.alibi(), capture=capture)
        with pytest.raises(hw.Error, match="returned weights have no gradient with a position"):
            seen.weights.sum().backward()


def twins(*arguments, dtype=torch.float32, **options):
    """torch's layer in float64, and ours with the same weights, biases among them random."""
    theirs = nn.MultiheadAttention(*arguments, **options, dtype=dtype)
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.dim() == 1:
                parameter.normal_()
    ours = ht.MultiheadAttention(*arguments, **options, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    return theirs.double(), ours


class TestLayer:
    @pytest.mark.parametrize("seed", range(100))
    def test_outputs_weights_and_gradients_are_torchs_in_float64_for_random_arguments(self, seed):
        draw = random.Random(seed)
        torch.manual_seed(seed)
        dtype = draw.choice([torch.float32, torch.float32, torch.bfloat16, torch.float64, torch.float16])
        heads = draw.choice([1, 2, 4])
        width = heads * draw.choice([4, 8])
        batch, queries, keys = draw.choice([1, 3]), draw.choice([1, 4, 9]), draw.choice([3, 9])
        first, batched = draw.random() < 0.5, draw.random() < 0.8
        batch = batch if batched else 1
        alike = draw.choice(["self", "key is value", "apart", "widths"])
        kdim, vdim = (width + 3, width + 1) if alike == "widths" else (width, width)
        keys = queries if alike == "self" else keys
        options = {"bias": draw.random() < 0.7, "add_bias_kv": draw.random() < 0.3, "add_zero_attn": draw.random() < 0.3,
                   "kdim": kdim, "vdim": vdim, "batch_first": first}  # fmt: skip
        theirs, ours = twins(width, heads, dtype=dtype, **options)
        theirs.train(), ours.train()

        def normal(length, columns):
            shape = (
                (length, columns) if not batched else (batch, length, columns) if first else (length, batch, columns)
            )
            return torch.randn(shape).to(dtype).requires_grad_()

        query = normal(queries, width)
        key = query if alike == "self" else normal(keys, kdim)
        value = key if alike in ("self", "key is value") else normal(keys, vdim)
        call = {"need_weights": draw.random() < 0.6, "average_attn_weights": draw.random() < 0.5}
        padding = draw.choice([None, "right", "any", "float"])
        if padding:
            hidden = torch.arange(keys) >= torch.randint(1, keys + 1, (batch, 1))
            hidden = hidden if padding != "any" else torch.rand(batch, keys) < 0.4
            hidden[:, 0] = False
            given = hidden if padding != "float" else torch.randn(batch, keys)
            call["key_padding_mask"] = given if batched else given[0]
        kind = draw.choice([None, "bool", "float", "per head", "causal"])
        if kind in ("bool", "causal"):
            mask = (
                torch.rand(queries, keys) < 0.3
                if kind == "bool"
                else torch.ones(queries, keys, dtype=torch.bool).triu(1)
            )
            mask[:, 0] = False
            call["attn_mask"] = mask
            call["is_causal"] = kind == "causal" and draw.random() < 0.5
        elif kind:
            shape = (queries, keys) if kind == "float" else (batch * heads, queries, keys)
            call["attn_mask"] = torch.randn(shape)

        inputs = list(dict.fromkeys([query, key, value]))
        wide = {x: x.detach().double().requires_grad_() for x in inputs}
        wide_call = {n: x.double() if torch.is_tensor(x) and x.is_floating_point() else x for n, x in call.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # masks of two kinds
            wanted, wanted_weights = theirs(wide[query], wide[key], wide[value], **wide_call)
        if dtype in (torch.bfloat16, torch.float16) and kind in ("float", "per head"):
            call["attn_mask"] = call["attn_mask"].to(torch.float32)
        output, weights = ours(query, key, value, **call)

        assert output.dtype == dtype
        close(output, wanted, dtype)
        assert (weights is None) == (not call["need_weights"])
        if weights is not None:
            close(weights, wanted_weights, dtype)
        d_output = torch.randn(output.shape).to(dtype)
        seeds, outputs = [d_output], [output]
        both = weights is not None and draw.random() < 0.5  # a loss on the weights, too
        if both:
            seeds, outputs = [*seeds, torch.randn(weights.shape).to(weights.dtype)], [output, weights]
        got = gradients(outputs, seeds, [*inputs, *ours.parameters()])
        their_outputs = [wanted, wanted_weights] if both else [wanted]
        leaves = [*wide.values(), *theirs.parameters()]
        compare_gradients(got, gradients(their_outputs, [s.double() for s in seeds], leaves), dtype)

    def test_state_goes_both_ways(self):
        for options in ({}, {"kdim": 5, "vdim": 7}, {"add_bias_kv": True}, {"bias": False}):
            theirs, ours = nn.MultiheadAttention(8, 2, **options), ht.MultiheadAttention(8, 2, **options)
            assert list(ours.state_dict()) == list(theirs.state_dict())
            theirs.load_state_dict(ours.state_dict())
            ours.load_state_dict(theirs.state_dict())

    def test_one_seed_gives_the_parameters_that_torch_draws(self):
        torch.manual_seed(4)
        theirs = nn.MultiheadAttention(8, 2, add_bias_kv=True)
        torch.manual_seed(4)
        ours = ht.MultiheadAttention(8, 2, add_bias_kv=True)
        assert all(torch.equal(a, b) for a, b in zip(theirs.parameters(), ours.parameters()))
        theirs._reset_parameters(), ours._reset_parameters()

    def test_copies_and_pickles_compute_the_same(self):
        layer = ht.MultiheadAttention(8, 2, batch_first=True)
        x = torch.randn(2, 3, 8)
        wanted = layer(x, x, x)[0]
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert type(other) is ht.MultiheadAttention and torch.equal(other(x, x, x)[0], wanted)

    def test_a_sequence_of_padding_alone_gives_the_output_bias_and_finite_gradients(self):
        _, layer = twins(8, 2, batch_first=True)
        x = torch.randn(2, 3, 8, requires_grad=True)
        hidden = torch.tensor([[False] * 3, [True] * 3])
        for mode in (True, False):
            output, weights = layer.train(mode)(x, x, x, key_padding_mask=hidden)
            assert torch.equal(output[1], layer.out_proj.bias.expand(3, 8)) and (weights[1] == 0).all()
            output.sum().backward()
            assert all(p.grad.isfinite().all() for p in layer.parameters()) and x.grad.isfinite().all()

    def test_training_and_evaluation_agree(self):
        _, layer = twins(8, 2, batch_first=True)
        x = torch.randn(2, 5, 8)
        hidden = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
        trained = layer.train()(x, x, x, key_padding_mask=hidden)
        with torch.no_grad():
            evaluated = layer.eval()(x, x, x, key_padding_mask=hidden)
        assert all(torch.equal(a, b) for a, b in zip(trained, evaluated))

    def test_weights_are_those_before_dropout(self):
        layer = ht.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
        x = torch.randn(2, 16, 8)
        torch.manual_seed(0)
        dropped, weights = layer.train()(x, x, x)
        assert torch.allclose(weights.sum(-1), torch.ones(2, 16))
        kept, same = layer.eval()(x, x, x)
        assert torch.equal(weights, same) and not torch.equal(dropped, kept)
        torch.manual_seed(0)
        assert torch.equal(layer.train()(x, x, x)[0], dropped)

    def test_causal_needs_no_mask_and_goes_with_weights_and_padding(self):
        theirs, ours = twins(8, 2, batch_first=True)
        x = torch.randn(2, 5, 8)
        hidden = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
        causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
        wanted = theirs(*[x.double()] * 3, attn_mask=causal, key_padding_mask=hidden)
        for mask in (None, causal):
            got = ours(x, x, x, is_causal=True, attn_mask=mask, key_padding_mask=hidden)
            for ours_is, theirs_is in zip(got, wanted):
                close(ours_is, theirs_is, torch.float32)

    def test_masks_positions_and_captures_go_in(self):
        layer = ht.MultiheadAttention(8, 2, batch_first=True)
        x = torch.randn(2, 6, 8)
        capture = hw.Capture(weights=hw.Weights.per_head, log_sum_exp=True)
        output, seen = layer(x, x, x, mask=hw.Mask.window(1, 1), position=hw.Position.rope(), capture=capture)
        far = (torch.arange(6)[:, None] - torch.arange(6)).abs() > 1
        assert output.shape == x.shape and seen.weights.shape == (2, 2, 6, 6) and (seen.weights[:, :, far] == 0).all()
        assert seen.log_sum_exp.shape == (2, 2, 6) and seen.output is None

    def test_autocast_is_followed(self):
        theirs, ours = nn.MultiheadAttention(16, 2, batch_first=True), ht.MultiheadAttention(16, 2, batch_first=True)
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 5, 16, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            got, wanted = ours(x, x, x)[0], theirs.train()(x, x, x)[0]
        assert got.dtype == wanted.dtype == torch.bfloat16
        close(got, wanted, torch.bfloat16)
        got.sum().backward()
        assert ours.in_proj_weight.grad.dtype == torch.float32


class TestModels:
    def encoder(self, **options):
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, **options)
        return nn.TransformerEncoder(layer, 2)

    def count_calls(self, monkeypatch):
        calls, forward = [], ht.MultiheadAttention.forward
        monkeypatch.setattr(ht.MultiheadAttention, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
        return calls

    @pytest.mark.parametrize("norm_first", [False, True])
    @pytest.mark.parametrize("padded", [False, True])
    def test_a_swapped_layer_is_called_in_training_and_in_evaluation(self, monkeypatch, norm_first, padded):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of nested tensors
            theirs = self.encoder(norm_first=norm_first)
            ours = ht.replace(copy.deepcopy(theirs))
            x = torch.randn(3, 7, 16)
            hidden = torch.arange(7) >= torch.tensor([[7], [4], [2]]) if padded else None
            calls = self.count_calls(monkeypatch)
            for mode in (True, False):
                with torch.set_grad_enabled(mode):
                    calls.clear()
                    got = ours.train(mode)(x, src_key_padding_mask=hidden)
                    assert len(calls) == 2
                    close(got, theirs.train(mode)(x, src_key_padding_mask=hidden), torch.float32)

    def test_a_layer_by_itself_is_called_in_evaluation(self, monkeypatch):
        layer = ht.replace(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)).eval()
        calls = self.count_calls(monkeypatch)
        with torch.no_grad():
            layer(torch.randn(2, 3, 16))
            copy.deepcopy(layer)(torch.randn(2, 3, 16))
            pickle.loads(pickle.dumps(layer))(torch.randn(2, 3, 16))
        assert len(calls) == 3

    def test_a_causal_encoder_and_a_decoder_agree_with_torchs(self):
        torch.manual_seed(0)
        theirs = nn.Transformer(16, 2, 2, 2, 32, dropout=0.0, batch_first=True)
        ours = ht.replace(copy.deepcopy(theirs))
        assert not any(type(m) is nn.MultiheadAttention for m in ours.modules())
        source, target = torch.randn(2, 6, 16), torch.randn(2, 5, 16)
        causal = nn.Transformer.generate_square_subsequent_mask(5)
        hidden = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
        options = dict(tgt_mask=causal, tgt_is_causal=True, src_key_padding_mask=hidden, memory_key_padding_mask=hidden)
        got, wanted = ours(source, target, **options), theirs(source, target, **options)
        close(got, wanted, torch.float32, factor=128)
        got.square().sum().backward(), wanted.square().sum().backward()
        for mine, other in zip(ours.parameters(), theirs.parameters()):
            close(mine.grad, other.grad, torch.float32, factor=1024)

    def test_replacing_keeps_parameters_ties_modes_and_hooks(self):
        shared = nn.MultiheadAttention(8, 2)
        model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared), "c": nn.MultiheadAttention(8, 2).eval()})
        seen = []
        shared.register_forward_hook(lambda *_: seen.append(1))
        before = {name: id(p) for name, p in model.named_parameters()}
        assert ht.replace(model) is model
        assert {name: id(p) for name, p in model.named_parameters()} == before
        assert model["a"] is model["b"][0] and type(model["a"]) is ht.MultiheadAttention
        assert model["a"].training and not model["c"].training
        x = torch.randn(3, 2, 8)
        model["a"](x, x, x)
        assert seen == [1]
        ht.replace(model)
        alone = ht.replace(nn.MultiheadAttention(8, 2))
        assert type(alone) is ht.MultiheadAttention

    def test_nested_sequences_are_computed_one_by_one(self):
        layer = ht.MultiheadAttention(16, 2, batch_first=True).eval()
        parts = [torch.randn(n, 16) for n in (5, 1, 3)]
        x = torch.nested.nested_tensor(parts)
        for causal in (False, True):
            got, weights = layer(x, x, x, need_weights=False, is_causal=causal)
            assert weights is None
            for mine, part in zip(got.unbind(), parts):
                close(mine, layer(part, part, part, is_causal=causal)[0], torch.float32)
        with pytest.raises(hw.Error, match="query is nested"):
            layer(x, x, x)

    def test_training_goes_down_the_same_way(self):
        losses = []
        for change in (lambda model: model, ht.replace):
            torch.manual_seed(0)
            model = change(nn.Sequential(self.encoder(), nn.Linear(16, 1)))
            optimizer = torch.optim.Adam(model.parameters(), 1e-2)
            x = torch.randn(8, 5, 16)
            for _ in range(20):
                loss = (model(x).squeeze(-1) - x.sum(-1)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-2)


class TestCompile:
    """With the backend that runs what was captured, forward and backward, as it is."""

    def compiled(self, f):
        torch._dynamo.reset()
        return torch.compile(f, backend="aot_eager", fullgraph=True)

    @pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": "bool"}, {"attn_mask": "learned"}])
    def test_the_function_is_captured_whole(self, options):
        torch.manual_seed(0)
        options = dict(options)
        leaves = [torch.randn(2, 2, 5, 8, requires_grad=True) for _ in range(3)]
        if options.get("attn_mask") == "bool":
            options["attn_mask"] = torch.rand(5, 5) < 0.7
        elif options:
            if "attn_mask" in options:
                options["attn_mask"] = torch.zeros(5, 5, requires_grad=True)
                leaves.append(options["attn_mask"])
        f = lambda q, k, v: ht.scaled_dot_product_attention(q, k, v, **options)  # noqa: E731
        got, wanted = self.compiled(f)(*leaves[:3]), f(*leaves[:3])
        close(got, wanted, torch.float32)
        d_out = torch.randn_like(got)
        compare_gradients(gradients(got, d_out, leaves), gradients(wanted, d_out, leaves), torch.float32)

    @pytest.mark.parametrize("first", [True, False])
    @pytest.mark.parametrize("weights", [True, False])
    def test_the_layer_is_captured_whole(self, first, weights):
        layer = ht.MultiheadAttention(16, 2, batch_first=first)
        x = torch.randn(3, 3, 16, requires_grad=True)
        hidden = torch.tensor([[False] * 3, [False, False, True], [False, True, True]])
        options = dict(key_padding_mask=hidden, need_weights=weights, attn_mask=torch.zeros(3, 3), is_causal=True)
        f = lambda x: layer(x, x, x, **options)  # noqa: E731
        got, wanted = self.compiled(f)(x), f(x)
        leaves = [x, *layer.parameters()]
        for mine, other in zip(got, wanted):
            if other is not None:
                close(mine, other, torch.float32)
        loss = [sum(part.square().sum() for part in out if part is not None) for out in (got, wanted)]
        compare_gradients(gradients(loss[0], None, leaves), gradients(loss[1], None, leaves), torch.float32)

    def test_dropout_is_captured_and_its_gradient_belongs_to_it(self):
        q, k, v = (torch.randn(1, 1, 32, 8, requires_grad=True) for _ in range(3))
        f = self.compiled(lambda q, k, v: ht.scaled_dot_product_attention(q, k, v, dropout_p=0.5))
        kept = torch.eye(32)[None, None].clone().requires_grad_()
        out = f(q, k, kept)
        (grad,) = gradients(out, torch.eye(32)[None, None], [kept])
        assert torch.equal(out.detach() == 0, grad.transpose(-2, -1) == 0) and (out == 0).float().mean() > 0.3

    def test_values_that_are_no_tensors_break_the_graph_and_not_the_program(self):
        torch._dynamo.reset()
        q = torch.randn(1, 2, 6, 8)
        f = lambda q: ht.scaled_dot_product_attention(q, q, q, mask=hw.Mask.window(1, 1)) + 1  # noqa: E731
        assert torch.equal(torch.compile(f, backend="eager")(q), f(q))

    def test_the_operators_keep_the_rules_of_torch(self):
        q, k, v = (torch.randn(1, 2, 3, 4, requires_grad=True) for _ in range(3))
        for mask, weights in ((None, 0), (torch.randn(3, 3, requires_grad=True), 1)):
            arguments = (q, k, v, mask, None, False, None, 0.0, 0.0, weights, True)
            torch.library.opcheck(torch.ops.headway.attention, arguments)


class TestWrong:
    @pytest.mark.parametrize(
        "change, words",
        [
            ({"query": None}, "query is a NoneType; want a torch.Tensor"),
            ({"query": torch.zeros(2, 2, 3, 8, dtype=torch.int64)}, "query int64.*want float32"),
            ({"key": torch.zeros(2, 2, 3, 8, dtype=torch.float64)}, "key float64.*one for all three"),
            ({"query": torch.zeros(2, 2, 3, 8, device="meta")}, "query is on meta; want it in the processor's memory"),
            ({"query": torch.zeros(2, 2, 3, 8).to_sparse()}, "query is torch.sparse_coo; want a dense"),
            ({"query": torch.zeros(8)}, r"query float32 \[8\].*want \[..., T, D\]"),
            ({"key": torch.zeros(2, 2, 3, 7)}, "dimension"),
            ({"key": torch.zeros(3, 2, 3, 8)}, "want leading dimensions that broadcast"),
            ({"key": torch.zeros(2, 3, 3, 8)}, "query has 2 heads, key 3, value 2"),
            ({"value": torch.zeros(2, 2, 4, 8)}, "4"),
            ({"dropout_p": -0.1}, "dropout_p is -0.1; want 0 <= p <= 1"),
            ({"dropout_p": float("nan")}, "dropout_p is nan"),
            (
                {"attn_mask": torch.zeros(4, 4)},
                r"attn_mask is float32 \[4, 4\]; want what broadcasts to \[2, 2, 3, 3\]",
            ),
            ({"attn_mask": torch.zeros(3, 3, dtype=torch.int32)}, "attn_mask is int32.*want bool"),
            ({"softcap": -1.0}, "softcap is -1"),
            ({"mask": hw.TilePlan.of(hw.Mask.causal(), queries=4, keys=4)}, "the plan was made for"),
            ({"mask": torch.ones(3, 3).bool()}, "mask is a Tensor; want a headway.Mask or TilePlan"),
        ],
    )
    def test_the_function_says_what_is_wrong(self, change, words):
        arguments = {name: torch.zeros(2, 2, 3, 8) for name in ("query", "key", "value")}
        with pytest.raises(hw.Error, match=words):
            ht.scaled_dot_product_attention(**{**arguments, **change})

    @pytest.mark.parametrize(
        "change, words",
        [
            ({"query": torch.zeros(3, 8)}, r"want all \[B, T, C\] or all \[T, C\]"),
            ({"query": torch.zeros(2, 3, 9)}, "want 8, 8 and 8 columns"),
            ({"value": torch.zeros(2, 4, 8)}, "want a value for each key"),
            ({"query": torch.zeros(3, 3, 8)}, "want one batch, dimension 0 of all"),
            ({"key_padding_mask": torch.zeros(3, 2).bool()}, r"key_padding_mask is bool \[3, 2\]; want \[2, 3\]"),
            ({"key_padding_mask": torch.zeros(2, 3).int()}, "key_padding_mask is int32.*want bool"),
            ({"attn_mask": torch.zeros(2, 3, 3)}, r"attn_mask is float32 \[2, 3, 3\]; want \[3, 3\] or \[4, 3, 3\]"),
            ({name: torch.zeros(2, 3, 8).bfloat16() for name in ("query", "key", "value")}, "want equal"),
            ({"query": torch.zeros(2, 3, 8, device="meta")}, "query is on meta"),
            ({"mask": "causal"}, "mask is a str; want a headway.Mask or TilePlan"),
        ],
    )
    def test_the_layer_says_what_is_wrong(self, change, words):
        arguments = {name: torch.zeros(2, 3, 8) for name in ("query", "key", "value")}
        with pytest.raises(hw.Error, match=words):
            ht.MultiheadAttention(8, 2, batch_first=True)(**{**arguments, **change})

    @pytest.mark.parametrize("arguments", [(0, 1), (8, 0), (8, 3), (-8, 2), (8, 2, 1.5), (8, 2, -0.1)])
    def test_a_layer_that_cannot_be_is_not_made(self, arguments):
        with pytest.raises(hw.Error, match="MultiheadAttention"):
            ht.MultiheadAttention(*arguments)

    def test_whatever_is_given_is_a_result_or_an_error_of_ours(self):
        draw = random.Random(0)
        torch.manual_seed(0)
        sizes = [0, 1, 2, 3, 5]

        def anything(rank):
            shape = [draw.choice(sizes) for _ in range(rank)]
            dtype = draw.choice([torch.float32] * 6 + [torch.float64, torch.bfloat16, torch.int32, torch.bool])
            x = torch.zeros(shape).to(dtype)
            return draw.choice([x, x, x.expand(shape), x.transpose(0, -1) if rank else x, None, 3, "x"])

        results = 0
        for _ in range(3000):
            if draw.random() < 0.5:
                b, h, t, s, d = (draw.choice(sizes) for _ in range(5))
                shapes = [(b, h, t, d), (b, h, s, d), (b, h, s, d)]
                inputs = [
                    torch.randn(shape) if draw.random() < 0.95 else anything(draw.randrange(6)) for shape in shapes
                ]
                call = lambda **o: ht.scaled_dot_product_attention(*inputs, **o)  # noqa: E731
                mask = draw.choice([(t, s), (b, 1, t, s), (1, 1, 1, s)])
                options = {"attn_mask": torch.rand(mask) < 0.5 if draw.random() < 0.7 else anything(draw.randrange(6))}
                options["is_causal"], options["dropout_p"] = draw.random() < 0.5, draw.choice([0.0, 0.0, 0.5, 2.0])
            else:
                b, t, s = (draw.choice(sizes) for _ in range(3))
                layer = ht.MultiheadAttention(4, 2, batch_first=draw.random() < 0.5, add_zero_attn=draw.random() < 0.3)
                shape = lambda n: (b, n, 4) if layer.batch_first else (n, b, 4)  # noqa: E731
                inputs = [
                    torch.randn(shape(n)) if draw.random() < 0.95 else anything(draw.randrange(5)) for n in (t, s, s)
                ]
                call = lambda **o: layer(*inputs, **o)[0]  # noqa: E731
                options = {"key_padding_mask": draw.choice([None, torch.rand(b, s) < 0.5, anything(2)])}
                options["attn_mask"] = draw.choice([None, torch.randn(t, s), anything(draw.randrange(4))])
            try:
                output = call(**options)
            except hw.Error:
                continue
            results += 1
            assert output.isfinite().all()
        assert results > 500


def test_the_tutorials_blocks_for_pytorch_run():
    text = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python torch\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), "docs/python.md", "exec"), {})


COUNTING = """
import os
import {first}
import torch, headway as hw, headway.torch as ht

def threads():
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(2), hw.set_threads(2)
torch.randn(512, 512) @ torch.randn(512, 512)
torch.nn.functional.scaled_dot_product_attention(*[torch.ones(8, 4, 128, 64)] * 3)
before = threads()
q = torch.randn(8, 4, 256, 64, requires_grad=True)
ht.scaled_dot_product_attention(q, q, q).sum().backward()
engine = threads()
ht.MultiheadAttention(256, 4)(*[torch.ones(128, 8, 256)] * 3)
mapped = {{line.split()[-1] for line in open("/proc/self/maps") if "gomp" in line or "iomp" in line}}
print(len(mapped), engine - before, threads() - engine)
"""


@pytest.mark.parametrize("first", ["torch", "headway", "headway.torch"])
def test_there_is_one_pool_of_threads_and_it_is_torchs(first):
    run = subprocess.run([sys.executable, "-c", COUNTING.format(first=first)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    pools, in_attention, in_layer = map(int, run.stdout.split())
    assert (pools, in_attention, in_layer) == (1, 0, 0)


@pytest.mark.parametrize("causal, padded", list(itertools.product([False, True], repeat=2)))
def test_bits_do_not_depend_on_the_number_of_threads(causal, padded):
    q, k, v = (torch.randn(3, 4, 100, 16, requires_grad=True) for _ in range(3))
    mask = torch.arange(100) < torch.tensor([100, 60, 1])[:, None, None, None] if padded else None
    d_out, results, before = torch.randn(3, 4, 100, 16), [], hw.get_threads()
    try:
        for count in (1, 2, 3):
            hw.set_threads(count)
            out = ht.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
            results.append([out, *gradients(out, d_out, [q, k, v])])
    finally:
        hw.set_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))
