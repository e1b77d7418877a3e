"""copy.deepcopy() and pickle: copies compute the same bits, and share among themselves what the originals shared."""

import copy
import gc
import pickle

import numpy as np
import pytest

import headway as hw
import oracle
from headway import Mask, Position, nn


def pickled(value):
    return pickle.loads(pickle.dumps(value))


copies = pytest.mark.parametrize("copied", [copy.deepcopy, pickled])


def generator():
    return hw.Generator(7)


def tensor(seed, *shape):
    return hw.tensor(oracle.heads(seed, shape)[0]).require_grad()


def transformer(**options):
    return hw.models.Transformer(
        source_vocab=11, target_vocab=12, model_dim=16, heads=4, kv_heads=2, encoder_layers=1, decoder_layers=2,
        feed_forward_dim=24, max_length=9, generator=generator(), **options,
    )  # fmt: skip


def of_width_16(module):
    return module(hw.tensor(oracle.heads(0, (2, 5, 16))[0]).require_grad())


def of_ids(embedding):
    return embedding(np.array([[3, 1], [0, 3]], np.int32))


def of_memory(layer):
    x, memory = oracle.heads(0, (2, 5, 16), (2, 3, 16))
    return layer(hw.tensor(x), memory)


def of_sentences(model):
    return model.loss([[4, 5, 6], [7]], [[5, 4], [9, 8, 7]])


MADE = {
    "linear": (lambda: nn.Linear(16, 8, bias=False, activation=nn.Activation.gelu, generator=generator()), of_width_16),
    "norm": (lambda: nn.Norm(16, kind=nn.NormKind.rms, eps=1e-3), of_width_16),
    "embedding": (
        lambda: nn.Embedding(4, 16, scaled=False, output=hw.DType.bfloat16, generator=generator()),
        of_ids,
    ),
    "feed_forward": (
        lambda: nn.FeedForward(16, 24, kind=nn.FeedForwardKind.swiglu, dropout=0.25, generator=generator()),
        of_width_16,
    ),
    "attention": (
        lambda: nn.MultiHeadAttention(
            16, 4, kv_heads=2, head_dim=6, value_head_dim=5, bias=False, dropout=0.25, scale=0.3, softcap=5.0,
            projection=nn.Projection.split, position=Position.t5(tensor(1, 8, 4)), generator=generator(),
        ),
        of_width_16,
    ),
    "encoder_layer": (
        lambda: nn.EncoderLayer(
            16, 4, 24, kv_heads=2, feed_forward=nn.FeedForwardKind.gelu, norm=nn.NormPlacement.post,
            norm_kind=nn.NormKind.rms, dropout=0.25, attention_dropout=0.125, activation_dropout=0.5,
            projection=nn.Projection.split, generator=generator(),
        ),
        of_width_16,
    ),
    "decoder_layer": (lambda: nn.DecoderLayer(16, 4, 24, dropout=0.25, generator=generator()), of_memory),
    "transformer": (
        lambda: transformer(
            norm=nn.NormPlacement.post, norm_kind=nn.NormKind.rms, positions=hw.models.PositionKind.learned,
            activation=nn.FeedForwardKind.swiglu, projection=nn.Projection.split, dropout=0.25, attention_dropout=0.125,
            activation_dropout=0.5, tie_embeddings=False, precision=hw.DType.bfloat16, checkpoint_activations=True,
        ),
        of_sentences,
    ),
}  # fmt: skip
every_module = pytest.mark.parametrize(("make", "call"), MADE.values(), ids=MADE)


def bits(array):
    return np.asarray(array).tobytes()


def assert_same_function(module, other, call):
    """Outputs and gradients, to the bit."""
    first, second = call(module), call(other)
    assert bits(first) == bits(second)
    for out in (first, second):
        (out.cast(hw.DType.float32) * out.cast(hw.DType.float32)).sum().backward()
    assert list(module.parameters()) == list(other.parameters())
    for mine, its in zip(module.parameters().values(), other.parameters().values()):
        assert bits(mine) == bits(its) and mine.grad is not None and bits(mine.grad) == bits(its.grad)


@copies
@every_module
def test_a_copy_computes_the_same_bits_and_gradients(make, call, copied):
    module = make()
    # Not what its constructor would draw again.
    module.load_state_dict({name: array + np.float32(0.125) for name, array in module.state_dict().items()})
    other = copied(module)
    assert type(other) is type(module) and not other.training
    told = [{**it.options, "position": str(it.options.get("position"))} for it in (module, other)]
    assert told[0] == told[1]
    assert_same_function(module, other, call)


@copies
@every_module
def test_a_copy_stays_in_training_and_draws_the_same_numbers_from_a_generator_of_its_own(make, call, copied):
    module, rng = make(), hw.Generator(3)
    module.train(rng)
    call(module)
    other, drawn = copied(module), rng.next_call
    assert other.training
    assert_same_function(module, other, call)
    assert other._generator.next_call == rng.next_call >= drawn and other._generator is not rng


@copies
def test_a_copy_has_parameters_of_its_own_and_no_gradients(copied):
    layer = nn.Linear(3, 2, generator=generator())
    layer(tensor(0, 4, 3)).sum().backward()
    other = copied(layer)
    assert all(parameter.grad is None for parameter in other.parameters().values())
    before = layer.state_dict()["weight"].copy()
    other.load_state_dict({name: array * 2 for name, array in other.state_dict().items()})
    assert np.array_equal(layer.state_dict()["weight"], before)


def test_options_make_a_module_like_it():
    for make, _ in MADE.values():
        module = make()
        drawn = {} if isinstance(module, nn.Norm) else {"generator": generator()}
        assert list(type(module)(**module.options, **drawn).parameters()) == list(module.parameters())


@copies
def test_the_layout_of_the_weights_is_the_present_one(copied):
    mha = nn.MultiHeadAttention(16, 4, generator=generator())
    mha.to(nn.Projection.split)
    assert_same_function(mha, copied(mha), of_width_16)


class Block(nn.Module):
    """Attention whose distances and whose output share tensors with others."""

    def __init__(self, embedding, table):
        super().__init__()
        self.table = table
        self.attention = nn.MultiHeadAttention(16, 4, position=Position.t5(table), generator=generator())
        self.mask = Mask.causal() & Mask.window(3, 0)
        self.output = embedding.weight
        self.note = {"made": ["by a test"]}

    def __call__(self, x):
        return self.attention(x, mask=self.mask) @ self.output.transpose(0, 1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 16, generator=generator())
        table = tensor(2, 8, 4)
        self.blocks = [Block(self.embedding, table), Block(self.embedding, table)]
        self.drop = nn.FeedForward(16, 24, dropout=0.5, generator=generator())

    def __call__(self, ids):
        x = self.drop(self.embedding(ids))
        return self.blocks[0](x) + self.blocks[1](x)


@copies
def test_a_model_of_python_keeps_its_parts_and_what_they_share(copied):
    model = Model()
    model.train(hw.Generator(5))
    model.drop.eval()
    other = copied(model)
    assert (other.training, other.drop.training, other.blocks[0].attention.training) == (True, False, True)
    assert other.blocks[0].note == model.blocks[0].note and other.blocks[0].note is not model.blocks[0].note
    assert_same_function(model, other, of_ids)
    # One table and one embedding, wherever they are named: a change is seen everywhere, and in the copy alone.
    before = {name: array.copy() for name, array in model.state_dict().items()}
    for name in ("blocks.0.table", "embedding.weight"):
        other.parameters()[name].assign(np.full_like(before[name], 0.25))
    for name in ("blocks.1.table", "blocks.0.output", "blocks.1.output"):
        assert (other.state_dict()[name] == 0.25).all()
    model.load_state_dict({name: np.array(array) for name, array in other.state_dict().items()})
    assert_same_function(model, other, of_ids)


class Narrow(nn.Linear):
    def __init__(self, width):
        super().__init__(width, 2, generator=generator())
        self.width = width


@copies
def test_a_class_derived_from_a_layer_keeps_its_attributes(copied):
    layer = Narrow(16)
    other = copied(layer)
    assert type(other) is Narrow and other.width == 16
    assert_same_function(layer, other, of_width_16)


def test_what_a_part_draws_from_lives_as_long_as_the_part():
    model = Model()
    model.train(hw.Generator(5))
    model.late = nn.FeedForward(16, 24, dropout=0.5, generator=generator())
    parts = [model.drop, model.blocks[1].attention, model.late]
    del model
    gc.collect()
    assert [part._generator.seed for part in parts] == [5, 5, 5]


@copies
def test_training_goes_on_with_a_copied_optimizer(copied):
    def train(model, optimizer, rate, steps):
        for step in steps:
            optimizer.zero_grad()
            (of_ids(model) * of_ids(model)).sum().backward()
            optimizer.step(rate(step))

    model, rate = Model(), hw.train.Schedule(1e-2, warmup=3, decay=hw.train.Decay.linear, steps=9, floor=0.5)
    model.train(hw.Generator(5))
    optimizer = hw.train.Adam(model, beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.1, clip_norm=2.0)
    train(model, optimizer, rate, range(1, 4))
    again = copied((model, optimizer, rate))
    for goes_on in ((model, optimizer, rate), again):
        train(*goes_on, range(4, 8))
    assert bits(of_ids(model)) == bits(of_ids(again[0]))
    state, other = optimizer.state_dict(), again[1].state_dict()
    assert list(state) == list(other) and all(bits(state[name]) == bits(other[name]) for name in state)


@copies
def test_an_optimizers_settings_come_along(copied):
    def trained(optimizer, bias):
        for _ in range(3):
            optimizer.zero_grad()
            (bias * bias).sum().backward()
            optimizer.step(0.1)
        return bits(bias)

    made = []
    for options in [{}, {"decay_matrices_alone": False}, {"decay_matrices_alone": False, "decoupled": False}]:
        bias = tensor(3, 4)
        optimizer = hw.train.Adam({"bias": bias}, weight_decay=0.5, **options)
        again = copied((optimizer, bias))
        made.append(trained(optimizer, bias))
        assert made[-1] == trained(*again)
    assert len(set(made)) == 3


@copies
def test_tensors_keep_their_kind_and_one_stays_one(copied):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    w, x = tensor(4, 3, 2), hw.tensor(np.arange(6).reshape(2, 3).astype(bfloat16)).transpose(0, 1)
    again, optimizer, other = copied((w, hw.train.Adam({"w": w}), x))
    assert again.requires_grad and not other.requires_grad
    assert other.dtype is hw.DType.bfloat16 and other.shape == (3, 2) and bits(other) == bits(x)
    again.sum().backward()
    optimizer.step(0.5)
    assert not np.array_equal(again.numpy(), w.numpy()) and w.grad is None
    assert copy.copy(w).requires_grad and np.shares_memory(copy.copy(w).numpy(), w.numpy())


@copies
@pytest.mark.parametrize(
    "make",
    [
        Position.alibi,
        lambda: Position.alibi([0.5, 0.25]),
        lambda: Position.t5(tensor(0, 8, 2), bidirectional=False, max_distance=6),
        lambda: Position.shaw(tensor(0, 7, 8)),
        lambda: Position.shaw(tensor(0, 2, 7, 8), tensor(1, 5, 8)),
        lambda: Position.transformer_xl(tensor(0, 14, 2, 8), tensor(1, 2, 8), tensor(2, 2, 8), least_offset=-9),
        lambda: Position.rope(base=500.0, dims=4, pairs=hw.RopePairs.interleaved, scaling=2.0),
    ],
)
def test_every_position_is_copied(make, copied):
    q, k, v = oracle.heads(0, (1, 5, 2, 8), (1, 5, 2, 8), (1, 5, 2, 8))
    position = make()
    other = copied(position)
    assert str(other) == str(position)
    assert bits(hw.attention(q, k, v, position=other)) == bits(hw.attention(q, k, v, position=position))


@copies
def test_masks_captures_generators_are_copied(copied):
    mask = Mask.strided(3) | ~Mask.window(2, 1, hw.Align.top_left) & Mask.causal()
    assert str(copied(mask)) == str(mask)
    capture = copied(hw.Capture(weights=hw.Weights.averaged, stage=hw.Scores.masked, log_sum_exp=True))
    assert (capture.weights, capture.stage, capture.log_sum_exp) == (hw.Weights.averaged, hw.Scores.masked, True)
    assert repr(copied(hw.Generator(4, 9))) == "Generator(4, 9)"
    tokenizer = hw.text.Tokenizer.train(["a cat and a dog"] * 5, vocab_size=16)
    assert copied(tokenizer).encode("a dog") == tokenizer.encode("a dog")


def test_masks_and_plans_are_values_whatever_is_in_them():
    visible = np.ones((3, 3), bool)
    for value in (
        Mask.allow(visible),
        Mask.where(lambda at: at.key <= at.query),
        hw.TilePlan.of(Mask(), queries=1, keys=1),
    ):
        assert copy.deepcopy(value) is value and copy.copy(value) is value


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Mask.allow(np.ones((3, 3), bool)), "holds an array, a list or a callable"),
        (lambda: Mask.where(lambda at: at.key <= at.query) & Mask.causal(), "holds an array, a list or a callable"),
        (lambda: hw.TilePlan.of(Mask(), queries=1, keys=1), "TilePlan: it cannot be pickled; want its mask"),
        (hw.KeyValueCache, "KeyValueCache: it cannot be pickled"),
        (lambda: hw.train.ExponentialAverage({"w": tensor(0, 2)}, 0.9), "ExponentialAverage: it cannot be pickled"),
        (lambda: tensor(0, 2) * 2.0, r"a result on the tape, float32 \[2\].*want detach\(\)"),
    ],
)
def test_what_cannot_be_pickled_says_so(make, words):
    with pytest.raises(hw.Error, match=words) as caught:
        pickle.dumps(make())
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("state", [(), 3, ({},), ({"inputs": 3}, {}, None, None)])
def test_what_is_no_state_makes_no_module(state):
    with pytest.raises(TypeError):
        nn.Linear.__new__(nn.Linear).__setstate__(state)


def test_a_shallow_copy_of_a_module_is_refused():
    for module in (nn.Norm(4), Model()):
        with pytest.raises(hw.Error, match="want copy.deepcopy") as caught:
            copy.copy(module)
        assert caught.value.code == "unsupported"


@copies
def test_a_shared_tensor_before_its_module_is_refused(copied):
    embedding = nn.Embedding(5, 16, generator=generator())
    with pytest.raises(hw.Error, match="parameter weight .* want the module first"):
        copied((embedding.weight, embedding))
    assert copied((embedding, embedding.weight))[1].requires_grad
