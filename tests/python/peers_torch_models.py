"""headway.torch inside PyTorch's models: replaced, compiled, on PyTorch's threads.

Wants PyTorch (bench/requirements.txt); ctest runs it under the label peers.
"""

import copy
import itertools
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import headway as hw

torch = pytest.importorskip("torch")
nn = torch.nn
import headway.torch as ht  # noqa: E402
from torch_oracle import close, compare_gradients, gradients  # noqa: E402


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
