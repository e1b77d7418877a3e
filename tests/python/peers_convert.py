"""One attention layer in PyTorch, Keras and Headway: the same function, there and back."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import headway as hw
from headway.nn import MultiHeadAttention


def inputs(query, key, value, seed=0):
    draw = np.random.default_rng(seed)
    shapes = (2, 5, query), (2, 7, key), (2, 7, value)
    return [draw.standard_normal(shape).astype(np.float32) for shape in shapes]


def close(got, want):
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=0, atol=2e-6 * np.abs(want).max() + 1e-7)


TORCH = [{}, {"bias": False}, {"kdim": 6, "vdim": 10}, {"kdim": 6, "vdim": 10, "bias": False}, {"batch_first": False}]


@pytest.mark.parametrize("options", TORCH, ids=str)
def test_torch(options):
    torch.manual_seed(1)
    theirs = torch.nn.MultiheadAttention(12, 3, **({"batch_first": True} | options)).eval()
    if theirs.in_proj_bias is not None:  # zeros otherwise, and a bias put elsewhere would not be seen
        torch.nn.init.normal_(theirs.in_proj_bias)
        torch.nn.init.normal_(theirs.out_proj.bias)
    ours = MultiHeadAttention.from_torch(theirs)
    arrays = inputs(12, theirs.kdim, theirs.vdim)
    tensors = [torch.from_numpy(array) for array in arrays]
    if not theirs.batch_first:
        tensors = [tensor.transpose(0, 1) for tensor in tensors]
    with torch.no_grad():
        want = theirs(*tensors, need_weights=False)[0]
        back = ours.to_torch()(*map(torch.from_numpy, arrays), need_weights=False)[0]
    if not theirs.batch_first:
        want = want.transpose(0, 1)
    close(ours(*arrays), want.numpy())
    close(back.numpy(), want.numpy())


def test_split_projections_go_to_torch(tmp_path):
    ours = MultiHeadAttention(12, 3, projection=hw.nn.Projection.split, generator=hw.Generator(5))
    arrays = inputs(12, 12, 12)
    with torch.no_grad():
        want = ours.to_torch()(*map(torch.from_numpy, arrays), need_weights=False)[0]
    close(ours(*arrays), want.numpy())


@pytest.mark.parametrize(
    "options, name",
    [({"kv_heads": 1}, "kv_heads"), ({"softcap": 5.0}, "softcap"), ({"position": hw.Position.alibi()}, "position"),
     ({"head_dim": 8}, "head_dim")],
    ids=str,
)
def test_what_torch_lacks_is_named(options, name):
    layer = MultiHeadAttention(12, 3, generator=hw.Generator(5), **options)
    with pytest.raises(hw.Error, match=name) as caught:
        layer.to_torch()
    assert caught.value.code == "unsupported"


def test_what_ours_lacks_is_named():
    for option in ("add_bias_kv", "add_zero_attn"):
        with pytest.raises(hw.Error, match=option):
            MultiHeadAttention.from_torch(torch.nn.MultiheadAttention(12, 3, **{option: True}))
    with pytest.raises(hw.Error, match="layer is a Linear; want torch.nn.MultiheadAttention"):
        MultiHeadAttention.from_torch(torch.nn.Linear(2, 2))
    with pytest.raises(hw.Error, match="want keras.layers.MultiHeadAttention"):
        MultiHeadAttention.from_keras(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("value_dim", [4, 6])
@pytest.mark.parametrize("widths", [(12, 12, 12), (12, 8, 10)], ids=str)
def test_keras(bias, value_dim, widths):
    keras = pytest.importorskip("keras")
    theirs = keras.layers.MultiHeadAttention(
        3, 4, value_dim=value_dim, use_bias=bias, bias_initializer=keras.initializers.RandomNormal(seed=2)
    )
    query, key, value = inputs(*widths)
    call = lambda layer: keras.ops.convert_to_numpy(layer(query, value, key))
    want = call(theirs)
    ours = MultiHeadAttention.from_keras(theirs)
    close(ours(query, key, value), want)
    close(call(ours.to_keras()), want)


def test_what_keras_layers_are_refused():
    keras = pytest.importorskip("keras")
    unbuilt = keras.layers.MultiHeadAttention(3, 4)
    with pytest.raises(hw.Error, match="no weights yet"):
        MultiHeadAttention.from_keras(unbuilt)
    wide = keras.layers.MultiHeadAttention(3, 4, output_shape=5)
    query, key, value = inputs(12, 12, 12)
    wide(query, value, key)
    with pytest.raises(hw.Error, match="output_shape is 5; want the query's width, 12"):
        MultiHeadAttention.from_keras(wide)
