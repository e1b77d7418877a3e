"""Arrays go in and come out without a copy, and what is no array, or a wrong one, is an Error."""

import array
import gc
import weakref

import numpy as np
import pytest

import headway as hw
import oracle

SHAPE = (2, 5, 2, 8)


class Foreign:
    """An array of another library: it speaks DLPack alone."""

    def __init__(self, data):
        self.data = data

    def __dlpack__(self, **how):
        return self.data.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()

    def __array_namespace__(self):
        return Namespace


class Namespace:
    @staticmethod
    def from_dlpack(x):
        return Foreign(np.from_dlpack(x))


def test_strided_views_go_in_as_they_are():
    q, k, v = oracle.heads(0, SHAPE, SHAPE, SHAPE)
    wanted = hw.attention(q, k, v)
    heads_first = [np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) for x in (q, k, v)]
    slab = np.concatenate([q, k, v], axis=-1)
    cut = np.split(slab, 3, axis=-1)
    backwards = [np.ascontiguousarray(x[::-1, ::-1, ::-1])[::-1, ::-1, ::-1] for x in (q, k, v)]
    columns = [np.asfortranarray(x) for x in (q, k, v)]
    for views in (heads_first, cut, backwards, columns):
        assert not views[0].flags.c_contiguous
        assert np.array_equal(hw.attention(*views), wanted)


def test_an_array_that_repeats_itself_is_read_where_it_stands():
    q, k, v = oracle.heads(1, SHAPE, (1, 5, 2, 8), (1, 5, 2, 8))
    got = hw.attention(q, np.broadcast_to(k, SHAPE), np.broadcast_to(v, SHAPE))
    wanted = oracle.attention(q, np.broadcast_to(k, SHAPE), np.broadcast_to(v, SHAPE))
    assert np.abs(got - wanted).max() <= oracle.tolerance(wanted)


def test_read_only_arrays_go_in():
    q, k, v = oracle.heads(0, SHAPE, SHAPE, SHAPE)
    wanted = hw.attention(q, k, v)
    for x in (q, k, v):
        x.flags.writeable = False
    assert np.array_equal(hw.attention(q, k, v), wanted)


def test_bfloat16_goes_in_and_comes_out():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    q, k, v = oracle.heads(0, SHAPE, SHAPE, SHAPE, dtype=bfloat16)
    q.flags.writeable = False
    got = hw.attention(q, k, v)
    assert got.dtype == bfloat16
    x = hw.from_dlpack(k)
    assert x.dtype is hw.DType.bfloat16 and x.numpy().dtype == bfloat16
    assert np.shares_memory(x.numpy().view(np.uint16), k.view(np.uint16))


def test_float16_is_held_and_cast_but_not_attended():
    q = oracle.heads(0, SHAPE, dtype=np.float16)[0]
    x = hw.tensor(q)
    assert x.dtype is hw.DType.float16 and np.array_equal(x.numpy(), q)
    assert np.array_equal(x.cast(hw.DType.float32).numpy(), q.astype(np.float32))
    with pytest.raises(hw.Error, match="query is float16") as caught:
        hw.attention(q, q, q)
    assert caught.value.code == "dtype"


def test_results_come_back_as_what_the_query_was():
    q, k, v = oracle.heads(0, SHAPE, SHAPE, SHAPE)
    wanted = hw.attention(q, k, v)
    foreign = hw.attention(Foreign(q), k, v)
    assert isinstance(foreign, Foreign) and np.array_equal(foreign.data, wanted)
    tensor = hw.attention(hw.tensor(q), k, v)
    assert isinstance(tensor, hw.Tensor) and np.array_equal(tensor.numpy(), wanted)
    flat = memoryview(q)
    assert type(hw.attention(flat, k, v)) is np.ndarray


def test_capsules_go_in_and_come_out():
    q, k, v = oracle.heads(0, SHAPE, SHAPE, SHAPE)
    capsule = hw.attention(q.__dlpack__(), k.__dlpack__(), v)

    class Holder:
        __dlpack__ = staticmethod(lambda **how: capsule)
        __dlpack_device__ = staticmethod(lambda: (1, 0))

    assert np.array_equal(np.from_dlpack(Holder()), hw.attention(q, k, v))


def test_a_version_that_is_none_is_a_type_error():
    for version in [(), (1,), ("1", 0)]:
        with pytest.raises(TypeError):
            hw.zeros([2]).__dlpack__(max_version=version)


def test_the_buffer_protocol_is_enough():
    numbers = array.array("f", [1, 2, 3, 4])
    x = hw.from_dlpack(numbers)
    numbers[2] = 7
    assert x.shape == (4,) and x.numpy().tolist() == [1, 2, 7, 4]


def test_from_dlpack_shares_and_tensor_copies():
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    shared, copied = hw.from_dlpack(data), hw.tensor(data)
    data[1, 2] = 50
    assert shared.numpy()[1, 2] == 50 and copied.numpy()[1, 2] == 5
    assert np.shares_memory(np.asarray(shared), data) and np.shares_memory(np.from_dlpack(shared), data)
    assert np.from_dlpack(shared.transpose(0, 1)).shape == (3, 2)
    data.flags.writeable = False
    with pytest.raises(hw.Error, match="read-only"):
        hw.from_dlpack(data)


def test_memory_lives_as_long_as_anyone_sees_it():
    data = np.ones(1000, np.float32)
    gone = weakref.ref(data)
    x = hw.from_dlpack(data)
    view = x.numpy()
    del data, x
    gc.collect()
    assert gone() is not None and view.sum() == 1000
    del view
    gc.collect()
    assert gone() is None


def test_results_are_freed_with_their_last_view():
    q, k, v = oracle.heads(0, (4, 256, 8, 64), (4, 256, 8, 64), (4, 256, 8, 64))
    before = hw.memory_stats().current
    out = hw.attention(q, k, v)
    assert hw.memory_stats().current - before == out.nbytes
    view = out[0, 0]
    del out
    assert hw.memory_stats().current > before
    del view
    assert hw.memory_stats().current == before


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ("text", "value", "query is a str; want an array"),
        ([[1.0]], "value", "query is a list; want an array"),
        (np.zeros(SHAPE, np.uint8), "dtype", "query is a numpy.ndarray of uint8"),
        (np.zeros(SHAPE, np.complex64), "dtype", "of complex64"),
        (np.zeros(SHAPE, ">f4"), "dtype", "byte order"),
        (np.zeros(SHAPE, "U3"), "dtype", "query is a numpy.ndarray"),
        (np.zeros(SHAPE, object), "dtype", "of object"),
        (np.zeros(SHAPE, [("a", "u1"), ("b", "f4")])["b"], "dtype", "strides of whole elements"),
        (np.zeros(5, "f4"), "shape", "query"),
        (np.zeros((1,) * 9, "f4"), "shape", "query has 9 dimensions; want at most 8"),
        (np.float32(3), "shape", "query"),
        (np.zeros(SHAPE, "i4"), "dtype", "query is int32"),
        (np.zeros((2, 5, 2, 9), "f4"), "shape", "query heads have dimension 9, key heads 8"),
        (np.zeros((2, 5, 3, 8), "f4"), "shape", "key has 2 heads, query has 3"),
        (np.zeros((3, 5, 2, 8), "f4"), "shape", "query has a batch of 3, key 2"),
        (np.zeros((2, 5, 2, 0), "f4")[:, :, :0], "shape", "query"),
        (np.frombuffer(bytearray(4 * 160 + 1), "f4", offset=1, count=160).reshape(SHAPE), "unsupported", "address"),
    ],
)
def test_a_wrong_query_is_an_error_that_names_it(wrong, code, words):
    q, k, v = oracle.heads(0, SHAPE, SHAPE, SHAPE)
    with pytest.raises(hw.Error, match=words) as caught:
        hw.attention(wrong, k, v)
    assert caught.value.code == code and isinstance(caught.value, ValueError)


def test_sizes_of_zero_are_results_of_zero_size_or_zeros():
    q, k, v = oracle.heads(0, SHAPE, SHAPE, SHAPE)
    assert hw.attention(q[:0], k[:0], v[:0]).shape == (0, 5, 2, 8)
    assert hw.attention(q[:, :0], k, v).shape == (2, 0, 2, 8)
    assert not hw.attention(q, k[:, :0], v[:, :0]).any()


def test_what_does_not_fit_in_memory_is_an_error():
    row = np.zeros((1, 1, 1, 8), np.float32)
    for sizes in [(1 << 48, 1, 1, 8), (1 << 20, 1 << 36, 1, 8), (1, 1 << 56, 1, 8)]:
        huge = np.lib.stride_tricks.as_strided(row, sizes, (0, 0, 0, 4))
        with pytest.raises(hw.Error) as caught:
            hw.attention(huge, huge, huge)
        assert caught.value.code in ("memory", "shape")


def test_tuples_and_wrong_kinds_of_arguments_are_type_errors():
    q, k, v = oracle.heads(0, SHAPE, SHAPE, SHAPE)
    with pytest.raises(TypeError):
        hw.attention(q, k)
    with pytest.raises(TypeError):
        hw.attention(q, k, v, scale="big")
    with pytest.raises(TypeError):
        hw.attention(q, k, v, nonsense=1)
