"""headway.torch under what PyTorch does to functions and tensors: lazy marks, torch.func, forward mode, recorders,
nested tensors. The right numbers, or one error that says so; never numbers that are wrong. Wants PyTorch
(bench/requirements.txt); ctest runs it under the label peers.
"""

import pytest

import headway as hw

torch = pytest.importorskip("torch")
import torch.autograd.forward_ad as forward_ad  # noqa: E402
from torch import nn  # noqa: E402
from torch._subclasses import FakeTensorMode  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import headway.torch as ht  # noqa: E402
from torch_oracle import close  # noqa: E402

OURS, THEIRS = ht.scaled_dot_product_attention, F.scaled_dot_product_attention
GRAD_MODES = pytest.mark.parametrize("grad", [True, False])


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    yield
    torch.compiler.reset()


def heads():
    return [torch.randn(2, 2, 5, 4) for _ in range(3)]


def leaves(x):
    return [x] if isinstance(x, torch.Tensor) else [leaf for part in x for leaf in leaves(part)]


def agree(f, grad=True):
    """f of our attention gives the numbers of f of PyTorch's."""
    with torch.set_grad_enabled(grad):
        got, wanted = leaves(f(OURS)), leaves(f(THEIRS))
    assert len(got) == len(wanted)
    for mine, other in zip(got, wanted):
        close(mine.detach(), other.detach(), torch.float32, factor=128)


def layer_and_input():
    layer = ht.MultiheadAttention(8, 2, batch_first=True)
    return layer, torch.randn(2, 5, 8)


class TestLazyMarks:
    @GRAD_MODES
    @pytest.mark.parametrize("which", range(4))
    def test_a_negated_tensor_has_the_values_it_shows(self, grad, which):
        inputs = [*heads(), torch.randn(5, 5)]
        inputs[which] = torch._neg_view(inputs[which])
        agree(lambda f: f(*inputs), grad)

    @GRAD_MODES
    def test_an_imaginary_part_of_a_conjugate_too(self, grad):
        _, k, v = heads()
        z = torch.randn(2, 2, 5, 4, dtype=torch.complex64).conj()
        agree(lambda f: f(z.imag, k, v) + f(z.real, k, v), grad)

    def test_gradients_that_come_in_negated_and_zero_tensors(self):
        q, k, v = (x.requires_grad_() for x in heads())
        d_out = torch._neg_view(torch.randn(2, 2, 5, 4))
        agree(lambda f: torch.autograd.grad(f(q, k, v), (q, k, v), d_out))
        zero = torch._efficientzerotensor((2, 2, 5, 4))
        agree(lambda f: torch.autograd.grad(f(q, k, v), (q, k, v), zero))
        agree(lambda f: f(zero, k, v))

    def test_the_layer_reads_them(self):
        layer, x = layer_and_input()
        mask = torch.randn(5, 5)
        wanted = layer(-x, -x, -x, attn_mask=-mask, need_weights=False)[0]
        lazy = torch._neg_view(x)
        close(layer(lazy, lazy, lazy, attn_mask=torch._neg_view(mask), need_weights=False)[0], wanted, torch.float32)

    def test_headway_attention_reads_them(self):
        q, k, v = (x.transpose(1, 2) for x in heads())
        wanted = hw.attention(-q, k, -v)
        assert torch.equal(hw.attention(torch._neg_view(q), k, torch._neg_view(v)), wanted)
        z = torch.complex(k, -q).conj()
        assert torch.equal(hw.attention(z.imag * 1, k, v), hw.attention(z.imag, k, v))
        assert torch.equal(hw.attention(torch._efficientzerotensor(q.shape), k, v), hw.attention(q * 0, k, v))
        with pytest.raises(hw.Error, match="complex64"):
            hw.attention(z, z, z)
        assert hw.tensor(torch._neg_view(q)).numpy().tolist() == (-q).tolist()

    def test_a_subclass_comes_back_as_a_tensor_of_torch(self):
        class Mine(torch.Tensor):
            pass

        q, k, v = (x.transpose(1, 2) for x in heads())
        assert isinstance(hw.attention(q.as_subclass(Mine), k, v), torch.Tensor)


class TestForwardMode:
    @GRAD_MODES
    @pytest.mark.parametrize("which", range(4))
    def test_a_tangent_is_refused_and_not_lost(self, grad, which):
        inputs = [*heads(), torch.zeros(5, 5)]
        with torch.set_grad_enabled(grad), forward_ad.dual_level():
            close(OURS(*inputs).detach(), THEIRS(*inputs), torch.float32)
            inputs[which] = forward_ad.make_dual(inputs[which], torch.randn(inputs[which].shape))
            with pytest.raises(hw.Error, match="forward-mode"):
                OURS(*inputs)

    @GRAD_MODES
    def test_nor_by_the_layer_and_what_replace_makes(self, grad):
        layer, x = layer_and_input()
        encoder = ht.replace(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
        with torch.set_grad_enabled(grad), forward_ad.dual_level():
            dual = forward_ad.make_dual(x, torch.ones_like(x))
            with pytest.raises(hw.Error, match="forward-mode"):
                layer(dual, dual, dual)
            with pytest.raises(hw.Error, match="forward-mode"):
                layer(dual, x, x, need_weights=False)
            with pytest.raises(hw.Error, match="forward-mode"):
                encoder(dual)

    def test_nor_by_headway_attention(self):
        q, k, v = (x.transpose(1, 2) for x in heads())
        with forward_ad.dual_level():
            hw.attention(q, k, v)
            with pytest.raises(hw.Error, match="query is a torch.Tensor with a tangent"):
                hw.attention(forward_ad.make_dual(q, q), k, v)

    @GRAD_MODES
    def test_nor_where_it_is_compiled(self, grad):
        q, k, v = heads()
        compiled = torch.compile(lambda x: OURS(x, k, v), backend="aot_eager")
        with torch.set_grad_enabled(grad), forward_ad.dual_level():
            with pytest.raises(hw.Error, match="forward-mode"):
                compiled(forward_ad.make_dual(q, q))

    @pytest.mark.parametrize("transform", [torch.func.jacfwd, torch.func.hessian])
    @GRAD_MODES
    def test_nor_by_transforms(self, grad, transform):
        q, k, v = heads()
        with torch.set_grad_enabled(grad), pytest.raises(hw.Error, match="forward-mode"):
            transform(lambda x: OURS(x, k, v).sum())(q)
        with torch.set_grad_enabled(grad), pytest.raises(hw.Error):
            torch.func.linearize(lambda x: OURS(x, k, v), q)


class TestTransforms:
    @GRAD_MODES
    def test_vmap(self, grad):
        q, k, v = heads()
        agree(lambda f: torch.vmap(f)(q, k, v), grad)
        agree(lambda f: torch.vmap(f, in_dims=(1, None, 1), out_dims=1)(q, k[:, 0], v), grad)
        agree(lambda f: torch.vmap(torch.vmap(f))(q, k, v), grad)
        agree(lambda f: torch.vmap(lambda x: f(x, k, v, is_causal=True))(q[None]), grad)
        visible = (torch.rand(3, 5, 5) > 0.5) | torch.eye(5).bool()
        agree(lambda f: torch.vmap(lambda mask: f(q, k, v, mask))(visible), grad)
        added = torch.randn(3, 5, 5)
        agree(lambda f: torch.vmap(lambda mask: f(q, k, v, mask))(added), grad)

    @GRAD_MODES
    def test_gradients(self, grad):
        func = torch.func
        q, k, v = heads()
        mask = torch.randn(5, 5)
        loss = lambda f: lambda *x: f(*x).square().sum()  # noqa: E731
        agree(lambda f: func.grad(loss(f), argnums=(0, 1, 2, 3))(q, k, v, mask), grad)
        agree(lambda f: func.vjp(f, q, k, v)[1](torch.ones_like(q)), grad)
        agree(lambda f: torch.vmap(func.grad(loss(f), argnums=(0, 1, 2)))(q, k, v), grad)
        agree(lambda f: func.grad(lambda x: torch.vmap(f)(x, k, v).square().sum())(q), grad)
        agree(lambda f: func.jacrev(lambda *x: f(*x).sum((0, 3)), argnums=(0, 1, 2))(q, k, v), grad)
        agree(lambda f: torch.vmap(func.jacrev(lambda x, y, z: f(x, y, z).sum((0, 2))))(q, k, v), grad)
        agree(lambda f: func.functionalize(f)(q, k, v), grad)

    def test_gradients_with_our_masks_and_captures(self):
        q, k, v = heads()
        ours = lambda x: OURS(x, k, v, mask=hw.Mask.causal()).square().sum()  # noqa: E731
        theirs = lambda x: THEIRS(x, k, v, is_causal=True).square().sum()  # noqa: E731
        close(torch.func.grad(ours)(q), torch.func.grad(theirs)(q), torch.float32, factor=128)
        capture = hw.Capture(log_sum_exp=True)
        sums = lambda x: OURS(x, k, v, capture=capture).log_sum_exp.sum()  # noqa: E731
        plain = lambda x: torch.logsumexp(x @ k.transpose(-2, -1) / 2, -1).sum()  # noqa: E731
        close(torch.func.grad(sums)(q), torch.func.grad(plain)(q), torch.float32, factor=128)

    @GRAD_MODES
    def test_the_layer_is_called_with_other_parameters(self, grad):
        ours, x = layer_and_input()
        theirs = nn.MultiheadAttention(8, 2, batch_first=True)
        several = {name: torch.randn(3, *p.shape) for name, p in ours.named_parameters()}
        one = {name: p[0] for name, p in several.items()}

        def called(layer):
            def run(parameters):
                return torch.func.functional_call(layer, parameters, (x, x, x), {"need_weights": False})[0]

            gradient = torch.func.grad(lambda p: run(p).square().sum())
            return [
                run(one), torch.vmap(run)(several), *gradient(one).values(), *torch.vmap(gradient)(several).values(),
                torch.func.jacrev(lambda p: run(p).sum((0, 1)))(one)["in_proj_weight"],
            ]  # fmt: skip

        with torch.set_grad_enabled(grad):
            got, wanted = called(ours), called(theirs)
        for mine, other in zip(got, wanted):
            close(mine.detach(), other.detach(), torch.float32, factor=1024)

    @GRAD_MODES
    def test_dropout_under_vmap_is_drawn_once_or_refused(self, grad):
        q, k, v = heads()
        dropped = lambda x: OURS(x, k, v, dropout_p=0.5)  # noqa: E731
        twice = torch.stack([q, q])
        with torch.set_grad_enabled(grad):
            same = torch.vmap(dropped, randomness="same")(twice)
            assert torch.equal(same[0], same[1])
            for randomness in ("error", "different"):
                with pytest.raises(hw.Error, match="dropout under vmap"):
                    torch.vmap(dropped, randomness=randomness)(twice)

    def test_the_first_gradient_comes_with_create_graph_and_the_second_is_refused(self):
        inputs = [x.requires_grad_() for x in heads()]
        agree(lambda f: torch.autograd.grad(f(*inputs).square().sum(), inputs, create_graph=True))
        first = torch.autograd.grad(OURS(*inputs).square().sum(), inputs, create_graph=True)
        with pytest.raises(hw.Error, match="the gradient has no gradient"):
            sum(x.sum() for x in first).backward()
        with pytest.raises(hw.Error, match="the gradient has no gradient"):
            torch.func.grad(lambda x: torch.func.grad(lambda y: OURS(y, y, y).sum())(x).sum())(inputs[0].detach())

    def test_many_gradients_at_once_are_refused(self):
        q, k, v = heads()
        q.requires_grad_()
        out = OURS(q, k, v)
        with pytest.raises(hw.Error, match="want torch.func.jacrev"):
            torch.autograd.grad(out, q, torch.stack([out.detach()] * 2), is_grads_batched=True)


class Attends(nn.Module):
    def forward(self, q, k, v):
        return OURS(q, k, v, is_causal=True)


class TestRecorders:
    @GRAD_MODES
    @pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
    def test_a_recorded_graph_computes_with_other_numbers(self, grad, mode):
        q, k, v = heads()
        with torch.set_grad_enabled(grad):
            graph = make_fx(lambda *x: OURS(*x), tracing_mode=mode)(*map(torch.ones_like, (q, k, v)))
            close(graph(q, k, v), THEIRS(q, k, v), torch.float32)

    @GRAD_MODES
    def test_torch_jit_trace(self, grad):
        layer, x = layer_and_input()
        with torch.set_grad_enabled(grad):
            traced = torch.jit.trace(layer, (torch.ones_like(x), torch.ones_like(x), torch.ones_like(x)))
            for mine, other in zip(traced(x, x * 2, x * 3), layer(x, x * 2, x * 3)):
                close(mine, other, torch.float32)

    @GRAD_MODES
    @pytest.mark.parametrize("strict", [True, False])
    def test_torch_export(self, grad, strict):
        q, k, v = heads()
        ones = tuple(map(torch.ones_like, (q, k, v)))
        t = torch.export.Dim("t", min=2)
        with torch.set_grad_enabled(grad):
            exported = torch.export.export(Attends(), ones, strict=strict, dynamic_shapes=({2: t},) * 3).module()
            for n in (5, 3):
                part = [x[:, :, :n] for x in (q, k, v)]
                close(exported(*part), THEIRS(*part, is_causal=True), torch.float32)

    def test_an_exported_encoder_with_the_layer(self):
        encoder = ht.replace(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
        x = torch.randn(2, 5, 8)
        close(torch.export.export(encoder, (torch.ones_like(x),)).module()(x), encoder(x), torch.float32)

    def test_what_is_no_operator_is_not_recorded_as_a_number(self):
        q, k, v = heads()
        masked = lambda x: OURS(x, k, v, mask=hw.Mask.causal())  # noqa: E731
        with pytest.raises(hw.Error, match="a graph is being recorded"):
            make_fx(masked)(q)
        with pytest.raises(hw.Error, match="a graph is being recorded"):
            torch.jit.trace(masked, (q,))
        with pytest.raises(hw.Error):
            make_fx(torch.func.grad(lambda x: OURS(x, k, v).sum()))(q)

    def test_tensors_without_memory(self):
        with FakeTensorMode() as mode:
            fake = [mode.from_tensor(x) for x in heads()]
            assert OURS(*fake).shape == (2, 2, 5, 4)
            with pytest.raises(hw.Error, match="without memory of its own"):
                OURS(*fake, mask=hw.Mask.causal())
            with pytest.raises(hw.Error, match="query is a .*FakeTensor without memory of its own"):
                hw.attention(*fake)
        freed = torch.randn(2, 2, 5, 4)
        freed.untyped_storage().resize_(0)
        with pytest.raises(hw.Error, match="without memory of its own"):
            OURS(freed, freed, freed)


class TestNested:
    PARTS = (3, 5, 1)

    def parts(self):
        return [torch.randn(n, 8) for n in self.PARTS]

    @GRAD_MODES
    @pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
    @pytest.mark.parametrize("causal", [False, True])
    def test_what_comes_in_goes_out_of_the_same_kind(self, grad, layout, causal):
        layer, _ = layer_and_input()
        parts = [x.requires_grad_(grad) for x in self.parts()]
        x = torch.nested.as_nested_tensor(parts, layout=layout)
        with torch.set_grad_enabled(grad):
            out = layer(x, x, x, need_weights=False, is_causal=causal)[0]
            wanted = [layer(p, p, p, need_weights=False, is_causal=causal)[0] for p in parts]
            assert out.is_nested and out.layout == layout and out.dtype == x.dtype
            for mine, other in zip((x + out).unbind(), (p + w for p, w in zip(parts, wanted))):
                close(mine.detach(), other.detach(), torch.float32)
        if grad:
            got = torch.autograd.grad(sum(y.square().sum() for y in out.unbind()), parts)
            for mine, other in zip(got, torch.autograd.grad(sum(y.square().sum() for y in wanted), parts)):
                close(mine, other, torch.float32, factor=128)

    def test_an_encoder_keeps_the_kind(self):
        encoder = ht.replace(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
        parts = [torch.zeros(0, 8), *self.parts()]
        x = torch.nested.nested_tensor(parts, layout=torch.jagged)
        with torch.no_grad():
            out = encoder(x)
            assert out.layout == torch.jagged
            for mine, part in zip(out.unbind()[1:], parts[1:]):
                close(mine, encoder(part), torch.float32)

    @pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
    def test_autocast_and_half_keep_it(self, layout):
        layer, _ = layer_and_input()
        x = torch.nested.nested_tensor(self.parts(), layout=layout)
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(x, x, x, need_weights=False)[0]
        assert out.layout == layout and out.dtype == torch.bfloat16
        half = x.half()
        out = layer.half()(half, half, half, need_weights=False)[0]
        assert out.layout == layout and out.dtype == torch.float16

    def test_what_is_refused(self):
        layer, dense = layer_and_input()
        jagged = torch.nested.nested_tensor(self.parts(), layout=torch.jagged)
        strided = torch.nested.nested_tensor(self.parts())
        gaps = torch.nested.narrow(
            torch.randn(3, 5, 8), 1, torch.tensor([0, 1, 2]), torch.tensor([2, 3, 1]), layout=torch.jagged
        )
        for x in (
            jagged.transpose(1, 2), gaps, jagged.int(), jagged.double(), torch.nested.nested_tensor([]),
            torch.nested.nested_tensor([torch.randn(n, 7) for n in self.PARTS], layout=torch.jagged),
            torch.nested.nested_tensor([torch.randn(2, n, 8) for n in self.PARTS]),
        ):  # fmt: skip
            with pytest.raises(hw.Error, match="MultiheadAttention: query"):
                layer(x, x, x, need_weights=False)
        for x in (jagged, strided):
            for call in (
                lambda: layer(x, x, x),
                lambda: layer(dense, x, x, need_weights=False),
                lambda: layer(x, dense, dense, need_weights=False),
                lambda: layer(x, x, x, need_weights=False, mask=hw.Mask.causal()),
                lambda: ht.MultiheadAttention(8, 2)(x, x, x, need_weights=False),
                lambda: torch.compile(layer, backend="eager")(x, x, x, need_weights=False),
                lambda: OURS(x, x, x),
                lambda: hw.attention(x, x, x),
            ):
                with pytest.raises(hw.Error):
                    call()
