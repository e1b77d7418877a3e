"""Beside JAX on the processor: its arrays go in and come out without a copy. ctest runs it under the label peers."""

import gc

import numpy as np
import pytest

import headway as hw
import oracle

jax = pytest.importorskip("jax")
jnp = jax.numpy
dtypes = pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])


def heads(dtype):
    return [jnp.asarray(x, dtype) for x in oracle.heads(0, (1, 3, 2, 4), (1, 3, 2, 4), (1, 3, 2, 4))]


@dtypes
def test_jax_arrays_go_in_and_come_out(dtype):
    q, k, v = heads(dtype)
    visible = jnp.tril(jnp.ones((3, 3), bool))
    got = hw.attention(q, k, v, mask=hw.Mask.allow(visible))
    assert isinstance(got, jax.Array) and got.dtype == dtype
    wanted = hw.attention(*map(np.asarray, (q, k, v)), mask=hw.Mask.causal())
    assert np.asarray(got).tobytes() == wanted.tobytes()


@dtypes
def test_the_bytes_stay_where_they_are(dtype):
    x = jnp.arange(12).astype(dtype).reshape(3, 4)
    assert hw.from_dlpack(x).numpy().ctypes.data == x.unsafe_buffer_pointer()
    # JAX takes over what begins at a multiple of 64 bytes, and copies the rest: ours does, whatever its size.
    for size in (1, 3, 1000):
        tensor = hw.zeros([size]).cast(hw.DType.float32 if dtype == jnp.float32 else hw.DType.bfloat16)
        assert jnp.from_dlpack(tensor).unsafe_buffer_pointer() == tensor.numpy().ctypes.data


@dtypes
def test_a_result_is_ours_until_jax_drops_it(dtype):
    q, k, v = heads(dtype)
    before = hw.memory_stats().current
    out = hw.attention(q, k, v)
    assert hw.memory_stats().current - before == out.nbytes
    del out
    gc.collect()
    assert hw.memory_stats().current == before


def test_layers_and_gradients_take_them():
    (x,) = oracle.heads(1, (2, 4))
    layer = hw.nn.Linear(4, 3, generator=hw.Generator(1))
    got = layer(jnp.asarray(x))
    assert isinstance(got, jax.Array) and np.array_equal(np.asarray(got), layer(x))
    q, k, v = heads(jnp.float32)
    seen = hw.attention(q, k, v, capture=hw.Capture(log_sum_exp=True))
    gradients = hw.attention_backward(seen.output, q, k, v, seen.output, seen.log_sum_exp)
    arrays = [np.asarray(x) for x in (seen.output, q, k, v, seen.output, seen.log_sum_exp)]
    wanted = hw.attention_backward(*arrays)
    assert isinstance(gradients.key, jax.Array) and np.array_equal(np.asarray(gradients.key), wanted.key)


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.vmap])
def test_what_jax_traces_is_an_error_in_its_words(transform):
    q = heads(jnp.float32)[0]
    with pytest.raises(hw.Error, match="query is a jax.*racer.*it says: .*concrete value"):
        transform(lambda x: hw.attention(x, x, x).sum())(q)
