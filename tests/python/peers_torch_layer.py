"""headway.torch.MultiheadAttention: the results and gradients of torch.nn's in float64, for every argument, but for the
differences that docs/python.md lists.

Wants PyTorch (bench/requirements.txt); ctest runs it under the label peers.
"""

import copy
import pickle
import random
import warnings

import pytest

import headway as hw

torch = pytest.importorskip("torch")
nn = torch.nn
import headway.torch as ht  # noqa: E402
from torch_oracle import close, compare_gradients, gradients, twins  # noqa: E402


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
        options = {name: draw.random() < p for name, p in (("bias", 0.7), ("add_bias_kv", 0.3), ("add_zero_attn", 0.3))}
        options |= {"kdim": kdim, "vdim": vdim, "batch_first": first}
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
