"""Layers and models: the formula, access to parameters, files."""

import numpy as np
import pytest

import headway as hw
import oracle
from headway import Mask, nn


def generator():
    return hw.Generator(7)


def reference_mha(state, x, heads, **options):
    """A combined layer's formula, from its parameters."""
    b, t, c = x.shape
    qkv = x.astype(np.float64) @ state["qkv.weight"].T.astype(np.float64) + state["qkv.bias"]
    q, k, v = (part.reshape(b, t, heads, -1) for part in np.split(qkv, 3, axis=-1))
    joined = oracle.attention(q, k, v, **options).reshape(b, t, c)
    return joined @ state["output.weight"].T.astype(np.float64) + state["output.bias"]


def test_multi_head_attention_is_the_papers_formula():
    mha = nn.MultiHeadAttention(32, 4, generator=generator())
    (x,) = oracle.heads(0, (2, 7, 32))
    causal = np.tril(np.ones((7, 7), bool))
    wanted = reference_mha(mha.state_dict(), x, 4, visible=causal)
    for mask in (Mask.causal(), Mask.where(lambda at: at.key <= at.query), Mask.allow(causal)):
        got = mha(x, mask=mask)
        assert isinstance(got, np.ndarray) and np.abs(got - wanted).max() <= oracle.tolerance(wanted, factor=64)
    plan = hw.TilePlan.of(Mask.causal(), batch=2, heads=4, queries=7, keys=7)
    assert np.abs(mha(x, mask=plan) - wanted).max() <= oracle.tolerance(wanted, factor=64)


def test_weights_come_along_when_captured():
    mha = nn.MultiHeadAttention(32, 4, generator=generator())
    (x,) = oracle.heads(1, (2, 7, 32))
    seen = mha(x, capture=hw.Capture(weights=hw.Weights.per_head))
    assert seen.weights.shape == (2, 4, 7, 7) and np.allclose(seen.weights.sum(-1), 1, atol=1e-6)
    assert np.array_equal(seen.output, mha(x))
    averaged = mha(x, capture=hw.Capture(weights=hw.Weights.averaged)).weights
    assert np.allclose(averaged, seen.weights.mean(1), atol=1e-6)
    with pytest.raises(hw.Error) as caught:
        mha(x, capture=hw.Capture(log_sum_exp=True))
    assert caught.value.code == "unsupported"


def test_a_memory_may_have_another_width_and_length():
    mha = nn.MultiHeadAttention(32, 4, kv_heads=2, key_dim=12, value_dim=20, generator=generator())
    x, key, value = oracle.heads(2, (2, 5, 32), (2, 9, 12), (2, 9, 20))
    assert mha(x, key, value).shape == (2, 5, 32)
    with pytest.raises(hw.Error, match="key"):
        mha(x, key[..., :11], value)


def test_steps_over_a_cache_equal_one_causal_pass():
    mha = nn.MultiHeadAttention(32, 4, position=hw.Position.rope(), generator=generator())
    (x,) = oracle.heads(3, (2, 6, 32))
    cache = nn.KeyValueCache()
    steps = np.concatenate([mha.step(x[:, i : i + 1], cache) for i in range(6)], 1)
    whole = mha(x, mask=Mask.causal())
    assert np.abs(steps - whole).max() <= oracle.tolerance(whole, factor=64)


def test_both_layouts_are_one_function_and_show_the_same_heads():
    mha = nn.MultiHeadAttention(32, 4, generator=generator())
    (x,) = oracle.heads(4, (2, 7, 32))
    before, head = mha(x), mha.head(2).query_weight.numpy().copy()
    mha.to(nn.Projection.split)
    assert len(mha.parameters()) == 4 * 6 + 2
    assert np.array_equal(mha.head(2).query_weight.numpy(), head)
    assert np.abs(mha(x) - before).max() <= oracle.tolerance(before, factor=64)


def test_packed_and_padded_rows_agree_in_every_layer():
    lengths = [4, 7]
    offsets = [0, 4, 11]
    (x,) = oracle.heads(5, (2, 7, 32))
    packed = np.concatenate([x[b, :n] for b, n in enumerate(lengths)])
    mha = nn.MultiHeadAttention(32, 4, generator=generator())
    layer = nn.EncoderLayer(32, 4, 64, generator=generator())
    decoder = nn.DecoderLayer(32, 4, 64, generator=generator())
    for b, n in enumerate(lengths):
        rows = slice(offsets[b], offsets[b + 1])
        alone = x[b : b + 1, :n]
        for whole, single in [
            (mha(packed, query_offsets=offsets), mha(alone)),
            (layer(packed, offsets), layer(alone)),
            (decoder(packed, packed, offsets, offsets), decoder(alone, alone)),
        ]:
            assert np.abs(whole[rows] - single[0]).max() <= oracle.tolerance(single, factor=64)


def test_a_layer_is_its_parts_put_together():
    layer = nn.EncoderLayer(32, 4, 64, norm=nn.NormPlacement.post, generator=generator())
    (x,) = oracle.heads(6, (2, 5, 32))
    state = layer.state_dict()

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    attention = {n.removeprefix("self_attention."): a for n, a in state.items() if n.startswith("self_attention.")}
    h = norm(x + reference_mha(attention, x, 4), "self_attention_norm")
    up = np.maximum(h @ state["feed_forward.up.weight"].T + state["feed_forward.up.bias"], 0)
    down = up @ state["feed_forward.down.weight"].T + state["feed_forward.down.bias"]
    wanted = norm(h + down, "feed_forward_norm")
    assert np.abs(layer(x) - wanted).max() <= oracle.tolerance(wanted, factor=128)


def test_a_state_is_a_view_that_follows_and_load_writes():
    layer = nn.Linear(3, 2, generator=generator())
    (x,) = oracle.heads(7, (4, 3))
    layer(x)  # converted weights, if any, are cached now
    state = layer.state_dict()
    fresh = {"weight": np.arange(6, dtype=np.float64).reshape(2, 3), "bias": np.ones(2, np.float32)}
    layer.load_state_dict(fresh)
    assert np.array_equal(state["weight"], fresh["weight"]) and not state["weight"].flags.writeable
    wanted = x @ fresh["weight"].T + fresh["bias"]
    assert np.abs(layer(x) - wanted).max() <= oracle.tolerance(wanted)


def test_a_state_that_does_not_fit_changes_nothing():
    layer = nn.Linear(3, 2, generator=generator())
    before = {name: array.copy() for name, array in layer.state_dict().items()}
    for wrong in [{}, {"weight": np.zeros((2, 3))}, {"weight": np.zeros((2, 3)), "bias": np.zeros(3)}]:
        with pytest.raises(hw.Error, match="bias") as caught:
            layer.load_state_dict(wrong)
        assert caught.value.code == "format"
    for name, array in layer.state_dict().items():
        assert np.array_equal(array, before[name])


def test_modules_of_python_name_their_parts():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = hw.tensor(np.ones(4, np.float32)).require_grad()
            self.constant = hw.tensor(np.ones(4, np.float32))
            self.layers = [nn.Linear(4, 4, generator=generator()) for _ in range(2)]
            self.tail = nn.Norm(4)
            self.note = "no part"

    model = Model()
    assert list(model.parameters()) == [
        "scale",
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
        "tail.weight",
        "tail.bias",
    ]
    rng = generator()
    model.train(rng)
    assert model.tail.training and model.layers[1].training
    model.eval()
    assert not model.layers[0].training
    with pytest.raises(hw.Error, match="each assigned once"):
        model.tail = nn.Norm(4)
    with pytest.raises(hw.Error, match="mixed.1 is a int among modules"):
        model.mixed = [nn.Norm(4), 3]


def test_a_module_comes_back_from_its_file(tmp_path):
    layer = nn.EncoderLayer(16, 2, 32, generator=generator())
    layer.save(tmp_path / "layer.safetensors")
    other = nn.EncoderLayer(16, 2, 32, generator=hw.Generator(99))
    other.load(tmp_path / "layer.safetensors")
    (x,) = oracle.heads(8, (1, 4, 16))
    assert np.array_equal(layer(x), other(x))
    arrays, metadata = hw.io.load_safetensors(tmp_path / "layer.safetensors")
    assert list(arrays) == list(layer.parameters()) and metadata == {}
    with pytest.raises(hw.Error) as caught:
        other.load(tmp_path / "nothing.safetensors")
    assert caught.value.code == "io"


def test_arrays_of_every_kind_come_back_from_a_file(tmp_path):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "b": np.arange(3, dtype=bfloat16),
        "c": np.array([True, False]),
        "d": np.zeros((0, 4), np.int64),
        "e": np.float16(1.5) * np.ones((), np.float16),
    }
    hw.io.save_safetensors(tmp_path / "x.safetensors", arrays, {"made": "by a test"})
    back, metadata = hw.io.load_safetensors(tmp_path / "x.safetensors")
    assert metadata == {"made": "by a test"}
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and np.array_equal(back[name], array)


def test_dropout_acts_in_training_alone():
    layer = nn.FeedForward(8, 16, dropout=0.5, generator=generator())
    (x,) = oracle.heads(9, (3, 8))
    quiet = layer(x)
    layer.train(hw.Generator(3))
    first, second = layer(x), layer(x)
    assert not np.array_equal(first, second) and not np.array_equal(first, quiet)
    layer.train(hw.Generator(3))
    assert np.array_equal(layer(x), first)
    layer.eval()
    assert np.array_equal(layer(x), quiet)


@pytest.fixture(scope="module")
def copier():
    """A Transformer that has learned to repeat what it is told."""
    rng = hw.Generator(2)
    model = hw.models.Transformer(
        source_vocab=14,
        target_vocab=14,
        model_dim=32,
        heads=2,
        encoder_layers=1,
        decoder_layers=1,
        feed_forward_dim=64,
        max_length=16,
        dropout=0.0,
        generator=rng,
    )
    model.train(rng)
    optimizer = hw.train.Adam(model)
    numbers = np.random.default_rng(0)
    losses = []
    for step in range(400):
        sentences = [numbers.integers(4, 14, numbers.integers(1, 6)).tolist() for _ in range(32)]
        loss = model.loss(sentences, sentences)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(8e-3 if step < 300 else 1e-3)  # smaller at the end: whatever the rounding, it has learned
        losses.append(loss.item())
    model.eval()
    return model, losses


def test_a_transformer_trains_and_translates(copier):
    model, losses = copier
    assert losses[-1] < 0.1 < losses[0]
    sources = [[5, 9, 4], [13], [7, 7, 6, 5]]
    greedy = [hypotheses[0].tokens for hypotheses in model.decode(sources)]
    assert greedy == sources
    beam = model.decode(sources, beam_size=3, num_hypotheses=2)
    assert [len(hypotheses) for hypotheses in beam] == [2, 2, 2]
    assert all(a.score >= b.score for a, b in beam)
    drawn = model.decode(sources, sampling=hw.models.Sampling(seed=1), num_hypotheses=3)
    assert [len(hypotheses) for hypotheses in drawn] == [3, 3, 3]


def test_a_transformer_shows_its_heads(copier):
    maps = copier[0].attention_maps([5, 9, 4, 2], [1, 5, 9])
    shapes = {kind: [layer.shape for layer in layers] for kind, layers in maps.items()}
    assert shapes == {"encoder_self": [(2, 4, 4)], "decoder_self": [(2, 3, 3)], "cross": [(2, 3, 4)]}
    cross = maps["cross"][0]
    assert np.allclose(cross.sum(-1), 1, atol=1e-6)
    assert 0 <= hw.inspect.head_divergence(cross) <= 1
    picture = hw.inspect.head_picture(cross[0], title="copying", rows=list("abc"), columns=list("wxyz"))
    assert picture.startswith("<svg") and "copying" in picture


def test_wrong_options_are_named():
    with pytest.raises(hw.Error, match="heads") as caught:
        nn.MultiHeadAttention(10, 3, generator=generator())
    assert caught.value.code == "shape"
    with pytest.raises(hw.Error, match="vocab"):
        hw.models.Transformer(source_vocab=0, target_vocab=5, generator=generator())
    with pytest.raises(hw.Error, match="outside|vocabulary"):
        nn.Embedding(4, 8, generator=generator())(np.array([9], np.int32))
    with pytest.raises(TypeError):
        nn.MultiHeadAttention(8, 2)
