"""headway.torch.scaled_dot_product_attention: the textbook's results and gradients for every argument.

Wants PyTorch (bench/requirements.txt); ctest runs it under the label peers.
"""

import random

import pytest

import headway as hw

torch = pytest.importorskip("torch")
F = torch.nn.functional
import headway.torch as ht  # noqa: E402
from torch_oracle import close, compare_gradients, gradients, textbook  # noqa: E402


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
        (first,) = torch.autograd.grad(ht.scaled_dot_product_attention(q, q, q).sum(), q, create_graph=True)
        with pytest.raises(hw.Error, match="the gradient has no gradient"):
            first.sum().backward()

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
