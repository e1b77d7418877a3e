"""headway.torch given what it cannot use: an error that says what is wrong, and never a crash.

Wants PyTorch (bench/requirements.txt); ctest runs it under the label peers.
"""

import random

import pytest

import headway as hw

torch = pytest.importorskip("torch")
import headway.torch as ht  # noqa: E402


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
