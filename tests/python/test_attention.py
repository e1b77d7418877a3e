"""headway.attention against the textbook in float64, forward and backward."""

import numpy as np
import pytest

import headway as hw
import oracle
from headway import Mask

SHAPES = [(1, 1, 1, 1, 1, 1, 1), (2, 5, 7, 4, 2, 8, 3), (1, 70, 130, 3, 1, 16, 16), (3, 4, 4, 8, 8, 64, 64)]


def inputs(seed, shape, dtype=np.float32):
    b, t, s, h, g, d, dv = shape
    return oracle.heads(seed, (b, t, h, d), (b, s, g, d), (b, s, g, dv), dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_output_is_the_textbooks(shape, dtype):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    q, k, v = inputs(0, shape, dtype)
    wanted = oracle.attention(q, k, v)
    got = hw.attention(q, k, v)
    assert got.dtype == q.dtype and got.shape == wanted.shape
    assert np.abs(got.astype(np.float64) - wanted).max() <= oracle.tolerance(wanted, dtype)


def test_scale_softcap_and_bias_act_in_the_books_order():
    q, k, v = inputs(1, SHAPES[1])
    (bias,) = oracle.heads(2, (1, 4, 5, 7))
    bias[0, 1, :, 2] = -np.inf
    wanted = oracle.attention(q, k, v, scale=0.7, softcap=2.0, bias=bias)
    got = hw.attention(q, k, v, scale=0.7, softcap=2.0, bias=bias)
    assert np.abs(got - wanted).max() <= oracle.tolerance(wanted)


def test_weights_scores_and_log_sum_exp_come_along_when_captured():
    q, k, v = inputs(3, SHAPES[1])
    visible = np.tril(np.ones((5, 7), bool), 2)
    seen = hw.attention(q, k, v, mask=Mask.causal(), capture=hw.Capture(weights=hw.Weights.per_head, log_sum_exp=True))
    wanted = oracle.weights(q, k, visible=visible)
    assert np.abs(seen.weights - wanted).max() <= oracle.tolerance(wanted)
    scores = np.where(visible, oracle.scores(q, k), -np.inf)
    sums = np.log(np.exp(scores).sum(-1))
    assert np.abs(seen.log_sum_exp - sums).max() <= oracle.tolerance(sums)
    capture = hw.Capture(weights=hw.Weights.per_head, stage=hw.Scores.masked)
    masked = hw.attention(q, k, v, mask=Mask.causal(), capture=capture).weights
    assert np.array_equal(np.isinf(masked), np.broadcast_to(~visible, masked.shape))
    assert np.abs(masked[np.isfinite(masked)] - scores[np.isfinite(scores)]).max() <= oracle.tolerance(sums)


def test_packed_sequences_are_attended_one_by_one():
    lengths = [3, 0, 6]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    q, k, v = oracle.heads(4, (9, 2, 8), (9, 2, 8), (9, 2, 8))
    got = hw.attention(q, k, v, query_offsets=offsets, key_offsets=offsets.tolist(), mask=Mask.causal())
    for begin, end in zip(offsets, offsets[1:]):
        part = [x[None, begin:end] for x in (q, k, v)]
        wanted = oracle.attention(*part, visible=np.tril(np.ones((end - begin, end - begin), bool)))
        assert np.abs(got[None, begin:end] - wanted).max(initial=0) <= oracle.tolerance(wanted)


def test_key_lengths_end_each_sequences_keys():
    q, k, v = inputs(5, SHAPES[1])
    k[0, 3:] = np.nan
    v[0, 3:] = np.nan
    got = hw.attention(q, k, v, key_lengths=[3, 7])
    wanted = oracle.attention(q[:1], k[:1, :3], v[:1, :3])
    assert np.abs(got[:1] - wanted).max() <= oracle.tolerance(wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mask", [None, Mask.causal(), Mask.window(1, 1), Mask.where(lambda at: at.key != 1)])
def test_gradients_are_those_of_central_differences(dtype, mask):
    q, k, v = inputs(6, (2, 4, 5, 4, 2, 3, 2), dtype)
    bias, d_out = oracle.heads(7, (1, 4, 4, 5), (2, 4, 4, 2), dtype=dtype)
    rows, columns = np.arange(4)[:, None], np.arange(5)[None]
    visible = {
        "None": np.ones((4, 5), bool),
        "causal": columns <= rows + 1,
        "window(1, 1)": abs(columns - rows - 1) <= 1,
        "where(<lambda>)": (columns != 1) | (rows < 0),
    }[str(mask)]

    def loss(q, k, v, bias):
        return (oracle.attention(q, k, v, bias=bias, softcap=3.0, visible=visible) * d_out).sum()

    seen = hw.attention(q, k, v, bias=bias, softcap=3.0, mask=mask, capture=hw.Capture(log_sum_exp=True))
    got = hw.attention_backward(d_out, q, k, v, seen.output, seen.log_sum_exp, bias=bias, softcap=3.0, mask=mask)
    wanted = [
        oracle.gradient(lambda x: loss(x, k, v, bias), q),
        oracle.gradient(lambda x: loss(q, x, v, bias), k),
        oracle.gradient(lambda x: loss(q, k, x, bias), v),
        oracle.gradient(lambda x: loss(q, k, v, x), bias),
    ]
    for name, x in zip(["query", "key", "value", "bias"], wanted):
        # Differences of float64 are good to about 1e-9 here.
        assert np.abs(getattr(got, name) - x).max() <= 1e-8 + oracle.tolerance(x, dtype), name


def test_gradients_are_the_same_bits_as_the_tapes():
    q, k, v = inputs(8, SHAPES[2])
    (d_out,) = oracle.heads(9, (1, 70, 3, 16))
    leaves = [hw.tensor(x).require_grad() for x in (q, k, v)]
    hw.attention(*leaves, mask=Mask.causal(), dropout=0.3, generator=hw.Generator(5, 2)).backward(d_out)
    options = dict(mask=Mask.causal(), dropout=0.3)
    seen = hw.attention(q, k, v, generator=hw.Generator(5, 2), capture=hw.Capture(log_sum_exp=True), **options)
    got = hw.attention_backward(d_out, q, k, v, seen.output, seen.log_sum_exp, generator=hw.Generator(5, 2), **options)
    for leaf, name in zip(leaves, ["query", "key", "value"]):
        assert np.array_equal(leaf.grad.numpy(), getattr(got, name)), name


def test_gradients_that_are_not_needed_are_none():
    q, k, v = inputs(10, SHAPES[1])
    seen = hw.attention(q, k, v, capture=hw.Capture(log_sum_exp=True))
    d_out = np.ones_like(seen.output)
    got = hw.attention_backward(d_out, q, k, v, seen.output, seen.log_sum_exp, needs=(False, True, False, True))
    assert got.query is None and got.value is None and got.bias is None
    assert got.key.shape == k.shape
    table = np.ones((8, 4), np.float32)
    nothing = hw.attention_backward(
        d_out,
        q,
        k,
        v,
        seen.output,
        seen.log_sum_exp,
        position=hw.Position.t5(table, max_distance=16),
        needs=[False] * 4,
    )
    assert nothing.query is None
    with hw.no_grad(), pytest.raises(hw.Error, match="no_grad"):
        hw.attention_backward(d_out, q, k, v, seen.output, seen.log_sum_exp)


def test_gradients_of_arrays_are_refused_where_they_do_not_fit():
    q, k, v = inputs(16, SHAPES[1])
    seen = hw.attention(q, k, v, capture=hw.Capture(log_sum_exp=True))
    good = [np.ones_like(seen.output), q, k, v, seen.output, seen.log_sum_exp]
    wrong = [seen.output[:, :4], q[:, :4], k[:, :, :1], v[:1], seen.output[..., :2], seen.log_sum_exp[:, :1]]
    for place, array in enumerate(wrong):
        with pytest.raises(hw.Error):
            hw.attention_backward(*good[:place], array, *good[place + 1 :])


def test_the_log_sum_exp_has_a_gradient_too():
    q, k, v = inputs(11, (1, 3, 4, 2, 2, 4, 4), "float64")
    seen = hw.attention(q, k, v, capture=hw.Capture(log_sum_exp=True))
    d_lse = oracle.heads(12, (1, 2, 3), dtype=np.float64)[0]
    got = hw.attention_backward(np.zeros_like(seen.output), q, k, v, seen.output, seen.log_sum_exp, d_log_sum_exp=d_lse)
    wanted = oracle.gradient(lambda x: (np.log(np.exp(oracle.scores(x, k)).sum(-1)) * d_lse).sum(), q)
    assert np.abs(got.query - wanted).max() <= 1e-8


def test_a_cache_sees_what_one_call_sees():
    q, k, v = oracle.heads(13, (2, 6, 4, 8), (2, 6, 2, 8), (2, 6, 2, 8))
    whole = hw.attention(q, k, v, mask=Mask.causal())
    cache = hw.KeyValueCache()
    parts = [
        hw.attention(q[:, a:b], k[:, a:b], v[:, a:b], mask=Mask.causal(), kv_cache=cache)
        for a, b in [(0, 3), (3, 4), (4, 6)]
    ]
    assert cache.lengths == [6, 6]
    assert np.abs(np.concatenate(parts, 1) - whole).max() <= oracle.tolerance(whole)


def test_a_call_that_fails_leaves_its_cache_alone():
    q, k, v = oracle.heads(14, (2, 1, 4, 8), (2, 1, 2, 8), (2, 1, 2, 8))
    cache = hw.KeyValueCache()
    hw.attention(q, k, v, kv_cache=cache)
    with pytest.raises(hw.Error, match="padding"):
        hw.attention(q, k, v, kv_cache=cache, mask=Mask.padding([1, 2, 3]))
    with pytest.raises(hw.Error, match="KeyValueCache: key is .*; the cache holds 2 heads of 8"):
        hw.attention(q[..., :4], k[..., :4], v, kv_cache=cache)
    assert cache.lengths == [1, 1]


def test_bits_do_not_depend_on_the_number_of_threads():
    q, k, v = inputs(15, (2, 200, 200, 4, 2, 32, 32))
    before = hw.get_threads()
    try:
        results = []
        for count in (1, 2, 3, 7):
            hw.set_threads(count)
            results.append(hw.attention(q, k, v, mask=Mask.causal()))
        assert all(np.array_equal(results[0], other) for other in results[1:])
    finally:
        hw.set_threads(before)


def test_explain_prices_a_call_that_need_not_fit_in_memory():
    shape = (64, 1 << 18, 16, 64)
    told = hw.explain(shape, shape, shape, mask=Mask.window(512, 0))
    assert told.path.startswith("fused")
    assert told.visible_pairs == 64 * 16 * sum(min(i, 512) + 1 for i in range(1 << 18))
    assert "window(512, 0)" in str(told)
