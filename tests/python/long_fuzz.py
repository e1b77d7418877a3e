"""Random combinations of arguments: a call gives what the textbook gives, or raises headway.Error. Nothing else, ever.

Each batch runs in a process of its own, so that a crash is told from an exception. Its seed is in the test's name.
"""

import subprocess
import sys

import numpy as np
import pytest

import headway as hw
import oracle
from headway import Mask, Position

CALLS = 400


class Dice(np.random.Generator):
    """Half of the calls are rough: everything may be wrong in them. In the others nearly everything fits."""

    rough = True

    def spoils(self, chance):
        return self.random() < chance and self.rough


def pick(rng, *choices):
    return choices[rng.integers(len(choices))]


def random_array(rng, shape):
    """Mostly a float32 array of that shape; sometimes strided, read-only, of another type or shape, or no array."""
    shape = list(shape)
    if rng.spoils(0.08):
        shape[rng.integers(len(shape))] = int(pick(rng, 0, 1, 2, 5))
    if rng.spoils(0.04):
        shape = shape[: rng.integers(len(shape))]
    array = rng.standard_normal(shape).astype(np.float32)
    kind = rng.random()
    if kind < 0.1:
        array = np.asfortranarray(array)
    elif kind < 0.2 and array.ndim:
        array = np.repeat(array, 2, axis=rng.integers(array.ndim))[tuple(slice(None, None, 1) for _ in shape)]
    elif kind < 0.3 and array.ndim:
        array = array[:: int(pick(rng, -1, 1))]
    elif kind < 0.35 and array.ndim:
        array = np.broadcast_to(array[:1], array.shape)
    elif kind < 0.4 and rng.rough:
        array = array.astype(pick(rng, "f8", "f2", "i4", "i8", "u1", "c8", "?", ">f4", "O"))
    elif kind < 0.43 and rng.rough:
        return pick(rng, None, 3, "text", [1.0, 2.0], array.tolist(), b"\0" * 64, range(3))
    elif kind < 0.46:
        array.flags.writeable = False
    return array


def random_int(rng):
    return int(pick(rng, -(1 << 62), -1, 0, 1, 2, 3, 7, 64, 1 << 40, (1 << 62) + 1))


def random_mask(rng, b, h, t, s, depth=0):
    def number():
        return random_int(rng) if rng.spoils(0.2) else int(rng.integers(1, 9))

    def numbers():
        return [number() for _ in range(rng.integers(0, 4))]

    makers = [
        lambda: Mask(),
        lambda: Mask.causal(pick(rng, hw.Align.bottom_right, hw.Align.top_left)),
        lambda: Mask.window(number(), number()),
        lambda: Mask.padding(rng.integers(0, s + 1, b).tolist() if not rng.spoils(0.3) else numbers()),
        lambda: Mask.documents(sorted({0, *numbers(), s}) if not rng.spoils(0.3) else numbers()),
        lambda: Mask.dilated(number(), number(), number()),
        lambda: Mask.strided(number()),
        lambda: Mask.fixed(number(), number()),
        lambda: Mask.global_(numbers()),
        lambda: Mask.random_blocks(number(), number(), 3),
        lambda: Mask.blocks(rng.random((-(-t // 4), -(-s // 4))) < 0.5, 4),
        lambda: Mask.allow(rng.random((int(pick(rng, 1, b)), 1, t, s)) < 0.5),
        lambda: Mask.deny(rng.random((t, s)) < 0.5 if not rng.spoils(0.9) else random_array(rng, (t, s))),
        lambda: Mask.where(lambda at: (at.query * 7 + at.key * 3) % 5 < 2),
        lambda: Mask.where(lambda at: pick(rng, at.key, True) if rng.spoils(0.7) else at.query > at.key),
    ]
    if depth < 2:
        makers += [
            lambda: random_mask(rng, b, h, t, s, depth + 1) & random_mask(rng, b, h, t, s, depth + 1),
            lambda: random_mask(rng, b, h, t, s, depth + 1) | random_mask(rng, b, h, t, s, depth + 1),
            lambda: ~random_mask(rng, b, h, t, s, depth + 1),
            lambda: Mask.per_head(
                [random_mask(rng, b, h, t, s, depth + 1) for _ in range(rng.integers(1, h + 2) if rng.rough else h)]
            ),
        ]
    return makers[rng.integers(len(makers))]()


def random_position(rng, h, d):
    return [
        lambda: Position.alibi(),
        lambda: Position.alibi(rng.standard_normal(h + int(rng.spoils(0.5))).tolist()),
        lambda: Position.t5(random_array(rng, (8, h)), bidirectional=bool(rng.integers(2))),
        lambda: Position.shaw(random_array(rng, (7, d)), random_array(rng, (7, d)) if rng.random() < 0.3 else None),
        lambda: Position.transformer_xl(*(random_array(rng, s) for s in [(30, h, d), (h, d), (h, d)])),
        lambda: Position.rope(dims=2, base=float(pick(rng, 1e4, -1, 0, np.nan)) if rng.rough else 100.0),
    ][rng.integers(6)]()


def one_call(rng):
    """True when the call went through."""
    rng.rough = bool(rng.integers(2))
    b, t, s, g, d = (int(rng.integers(1, high)) for high in (4, 80, 80, 3, 20))
    h = g * int(rng.integers(1, 4))
    q, k, v = random_array(rng, (b, t, h, d)), random_array(rng, (b, s, g, d)), random_array(rng, (b, s, g, d))
    chance = rng.random
    usual = not rng.rough
    options, extra = {}, {}
    try:
        if chance() < 0.6:
            options["mask"] = random_mask(rng, b, h, t, s)
        if chance() < 0.2 and "mask" in options:
            sizes = [random_int(rng) if rng.spoils(0.1) else size for size in (b, h, t, s)]
            if max(sizes) < 1000:  # a plan may be as large as its caller wants
                options["mask"] = hw.TilePlan.of(
                    options["mask"], batch=sizes[0], heads=sizes[1], queries=sizes[2], keys=sizes[3]
                )
        if chance() < 0.3:
            options["bias"] = random_array(rng, (int(pick(rng, 1, b)), int(pick(rng, 1, h)), t, s))
        if chance() < 0.3:
            options["position"] = random_position(rng, h, d)
        if chance() < 0.2:
            options["scale"] = 0.5 if usual else float(pick(rng, 0, 0.5, -2, np.nan, np.inf))
        if chance() < 0.2:
            options["softcap"] = 3.0 if usual else float(pick(rng, 0, 3, -1, np.nan, np.inf))
        if chance() < 0.2:
            options["dropout"] = 0.5 if usual else float(pick(rng, 0, 0.5, 1, -1, np.nan))
        if chance() < 0.2:
            options["key_lengths"] = [
                random_int(rng) if rng.spoils(0.1) else int(rng.integers(0, s + 1)) for _ in range(b)
            ]
        if rng.spoils(0.1):
            options["query_offsets"] = [0, t] if chance() < 0.5 else [random_int(rng) for _ in range(3)]
            options["key_offsets"] = [0, s]
        if chance() < 0.1:
            extra["kv_cache"] = hw.KeyValueCache()
        seed = hw.Generator(int(rng.integers(100)))
        capture = hw.Capture(weights=pick(rng, *hw.Weights), stage=pick(rng, *hw.Scores), log_sum_exp=True)
        seen = hw.attention(q, k, v, generator=seed.copy(), capture=capture, **options, **extra)
        hw.explain(q, k, v, **options)
        if set(options) <= {"mask"} and not extra and np.dtype(q.dtype) == np.float32:
            check_output(q, k, v, options.get("mask"), seen.output)
        if not extra:
            hw.attention_backward(
                random_array(rng, seen.output.shape),
                q,
                k,
                v,
                seen.output,
                seen.log_sum_exp,
                generator=seed.copy(),
                **options,
            )
    except hw.Error as error:
        assert str(error) and error.code in ("shape", "dtype", "value", "unsupported", "memory"), repr(error)
        return False
    except TypeError as error:
        assert "incompatible function arguments" in str(error), repr(error)  # a number too large for 64 bits
        return False
    return True


def check_output(q, k, v, mask, output):
    if isinstance(mask, hw.TilePlan):
        mask = mask.mask
    b, t, h, _ = q.shape
    visible = np.ones((b, h, t, k.shape[1]), bool)
    if mask is not None:
        seen = hw.attention(
            np.zeros_like(q), np.zeros_like(k), v, mask=mask, capture=hw.Capture(weights=hw.Weights.per_head)
        )
        visible = seen.weights > 0
    wanted = oracle.attention(q, k, v, visible=visible)
    assert np.abs(output - wanted).max(initial=0) <= oracle.tolerance(wanted), (q.shape, str(mask))


@pytest.mark.parametrize("seed", range(8))
def test_random_calls_give_the_textbooks_answer_or_an_error(seed):
    run = subprocess.run([sys.executable, __file__, str(seed)], capture_output=True, text=True)
    assert run.returncode == 0, f"exit status {run.returncode}\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
    through = int(run.stdout.split()[-1])
    assert CALLS / 4 < through < CALLS  # a fuzz whose calls all fail, or none, tells nothing


if __name__ == "__main__":
    dice = Dice(np.random.PCG64(int(sys.argv[1])))
    print(sum(one_call(dice) for _ in range(CALLS)))
