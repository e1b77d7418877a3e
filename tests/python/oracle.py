"""Attention as the textbook writes it, in float64: what the tests compare the library with."""

import numpy as np


def scores(q, k, scale=None, softcap=0.0):
    """Capped scores [B, H, T, S] of q [B, T, H, D] and k [B, S, G, D]."""
    q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
    k = np.repeat(k, q.shape[2] // k.shape[2], axis=2)
    s = np.einsum("bihd,bjhd->bhij", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return softcap * np.tanh(s / softcap) if softcap else s


def weights(q, k, visible=True, bias=0.0, scale=None, softcap=0.0):
    """Softmax of the scores over visible keys; rows that see nothing are 0."""
    s = np.where(visible, scores(q, k, scale, softcap) + bias, -np.inf)
    most = s.max(-1, keepdims=True, initial=-np.inf)
    p = np.exp(s - np.where(np.isfinite(most), most, 0))
    total = p.sum(-1, keepdims=True)
    return np.divide(p, total, out=np.zeros_like(p), where=total > 0)


def attention(q, k, v, **options):
    """[B, T, H, Dv] of v [B, S, G, Dv]."""
    p = weights(q, k, **options)
    v = np.repeat(np.asarray(v, np.float64), p.shape[1] // v.shape[2], axis=2)
    return np.einsum("bhij,bjhd->bihd", p, v)


def gradient(f, x, h=1e-6):
    """Central differences of f at x, element by element."""
    x = np.array(x, np.float64)
    out = np.empty_like(x)
    for at in np.ndindex(x.shape):
        kept = x[at]
        x[at] = kept + h
        above = f(x)
        x[at] = kept - h
        below = f(x)
        x[at] = kept
        out[at] = (above - below) / (2 * h)
    return out


def heads(seed, *shapes, dtype=np.float32):
    """Normal arrays of these shapes."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def tolerance(reference, dtype=np.float32, factor=16):
    """Room for rounding: inputs, products and sums round a few times each, at the size of the largest result."""
    epsilon = {"float32": 2.0**-23, "float64": 2.0**-52, "bfloat16": 2.0**-8}[np.dtype(dtype).name]
    return factor * epsilon * max(1.0, float(np.abs(reference).max(initial=0)))
