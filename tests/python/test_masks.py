"""Masks are values, with the operators of C++; Python predicates are asked for many pairs at once."""

import threading
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import headway as hw
import oracle
from headway import Mask

T, S = 6, 9
I, J = np.arange(T)[:, None], np.arange(S)[None]
P = I + S - T
DEFINITIONS = {
    "causal": (Mask.causal(), J <= P),
    "causal_top_left": (Mask.causal(hw.Align.top_left), J <= I),
    "window": (Mask.window(2, 1), (J >= P - 2) & (J <= P + 1)),
    "padding": (Mask.padding([5]), J < 5),
    "documents": (Mask.documents([0, 4, 9]), (P < 4) == (J < 4)),
    "allow": (Mask.allow((I + J) % 3 == 0), (I + J) % 3 == 0),
    "deny": (Mask.deny((I + J) % 3 == 0), (I + J) % 3 != 0),
    "dilated": (Mask.dilated(2, 1, 2), np.isin(J - P, [-4, -2, 0, 2])),
    "strided": (Mask.strided(3), (J <= P) & ((P - J <= 3) | ((P - J) % 3 == 0))),
    "fixed": (Mask.fixed(4, 1), (J <= P) & ((J // 4 == P // 4) | (J % 4 == 3))),
    "global": (Mask.global_([0, 5]), np.isin(P, [0, 5]) | np.isin(J, [0, 5])),
    "blocks": (Mask.blocks(np.eye(2, 3, dtype=bool), 3), I // 3 == J // 3),
    "where": (Mask.where(lambda at: at.key < 2 * at.query), J < 2 * I),
    "parse": (Mask.parse("causal & window(2, 0)"), (J <= P) & (J >= P - 2)),
    "all": (Mask(), np.ones((T, S), bool)),
}


def visible(mask, heads=1):
    """Who sees whom, from what attention computed: with keys of 0 every visible key has the same weight."""
    q, k, v = np.zeros((1, T, heads, 4), "f4"), np.zeros((1, S, heads, 4), "f4"), np.zeros((1, S, heads, 4), "f4")
    seen = hw.attention(q, k, v, mask=mask, capture=hw.Capture(weights=hw.Weights.per_head))
    return seen.weights[0] > 0


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_mask_shows_what_its_definition_says(name):
    mask, wanted = DEFINITIONS[name]
    wanted = np.broadcast_to(wanted, (T, S))
    assert np.array_equal(visible(mask)[0], wanted)
    asked = [[mask.visible(i, j, queries=T, keys=S) for j in range(S)] for i in range(T)]
    assert np.array_equal(asked, wanted)


@pytest.mark.parametrize("a", ["causal", "allow", "where", "strided"])
@pytest.mark.parametrize("b", ["window", "global", "where"])
def test_operators_join_masks(a, b):
    (left, left_seen), (right, right_seen) = DEFINITIONS[a], DEFINITIONS[b]
    assert np.array_equal(visible(left & right)[0], np.broadcast_to(left_seen & right_seen, (T, S)))
    assert np.array_equal(visible(left | right)[0], np.broadcast_to(left_seen | right_seen, (T, S)))
    assert np.array_equal(visible(~left)[0], np.broadcast_to(~left_seen, (T, S)))


def test_each_head_may_have_a_mask_of_its_own():
    names = ["causal", "where", "all"]
    seen = visible(Mask.per_head([DEFINITIONS[name][0] for name in names]), heads=3)
    for head, name in enumerate(names):
        assert np.array_equal(seen[head], np.broadcast_to(DEFINITIONS[name][1], (T, S)))


def test_random_patterns_are_those_of_their_seed():
    a, b, c = (hw.TilePlan.of(Mask.big_bird(seed=seed), queries=2048, keys=2048) for seed in (1, 1, 2))
    assert a.picture() == b.picture() != c.picture()
    blocks = hw.TilePlan.of(Mask.random_blocks(64, 2, 3), queries=512, keys=512)
    assert blocks.visible_pairs == 512 * 128


def test_a_predicate_is_asked_once_for_a_shape_and_on_the_calling_thread():
    calls = []

    def predicate(at):
        calls.append(threading.get_ident())
        return at.key <= at.query

    mask = Mask.where(predicate)
    q, k, v = oracle.heads(0, (2, 300, 4, 8), (2, 300, 4, 8), (2, 300, 4, 8))
    wanted = hw.attention(q, k, v, mask=Mask.causal())
    for _ in range(3):
        assert np.abs(hw.attention(q, k, v, mask=mask) - wanted).max() <= oracle.tolerance(wanted)
    assert calls == [threading.get_ident()]


def test_a_predicate_that_looks_at_heads_and_sequences_is_asked_for_each():
    mask = Mask.where(lambda at: (at.key <= at.query) if at.head == 0 else (at.key == at.sequence) & (at.query >= 0))
    q, k, v = oracle.heads(1, (2, T, 2, 8), (2, S, 2, 8), (2, S, 2, 8))
    capture = hw.Capture(weights=hw.Weights.per_head)
    seen = hw.attention(q, k, v, mask=mask, capture=capture).weights > 0
    for b in range(2):
        assert np.array_equal(seen[b, 0], J <= I)
        assert np.array_equal(seen[b, 1], np.broadcast_to(J == b, (T, S)))


def test_a_predicate_sees_the_lengths_of_packed_sequences():
    mask = Mask.where(lambda at: at.key >= at.keys - 1 + 0 * at.query)
    q, k, v = oracle.heads(2, (7, 1, 8), (9, 1, 8), (9, 1, 8))
    got = hw.attention(q, k, v, mask=mask, query_offsets=[0, 3, 7], key_offsets=[0, 5, 9])
    assert np.allclose(got[:3, 0], v[4]) and np.allclose(got[3:, 0], v[8])


@pytest.mark.parametrize(
    ("predicate", "words"),
    [
        (lambda at: at.key, "the predicate answered with int64; want bool"),
        (lambda at: np.ones((2, 2), bool), r"shape \(2, 2\); want what broadcasts to \[6, 9\]"),
    ],
)
def test_a_predicate_with_a_wrong_answer_is_told_so(predicate, words):
    with pytest.raises(hw.Error, match=words):
        visible(Mask.where(predicate))


def test_what_a_predicate_raises_comes_out():
    with pytest.raises(ZeroDivisionError):
        visible(Mask.where(lambda at: 1 / 0))


def test_an_array_that_changed_is_read_again():
    allowed = np.ones((T, S), bool)
    mask = Mask.allow(allowed)
    assert visible(mask).all()
    allowed[:, 3] = False
    assert not visible(mask)[0, :, 3].any()


def test_a_plan_serves_calls_of_its_shape_and_refuses_others():
    plan = hw.TilePlan.of(Mask.strided(3), batch=2, heads=4, queries=5, keys=5)
    assert plan.shape == (2, 4, 5, 5)
    q, k, v = oracle.heads(3, (2, 5, 4, 8), (2, 5, 4, 8), (2, 5, 4, 8))
    assert np.array_equal(hw.attention(q, k, v, mask=plan), hw.attention(q, k, v, mask=Mask.strided(3)))
    with pytest.raises(hw.Error, match="the plan was made for") as caught:
        hw.attention(q[:1], k[:1], v[:1], mask=plan)
    assert caught.value.code == "shape"


def test_a_plan_draws_its_tiles():
    plan = hw.TilePlan.of(Mask.window(128, 0) | Mask.global_([0]), queries=1024, keys=1024)
    picture = plan.picture()
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert plan._repr_svg_() == picture
    with pytest.raises(hw.Error):
        plan.picture(sequence=1)


def test_masks_say_what_they_are():
    assert str(Mask.causal() & Mask.window(4, 0)) == "causal & window(4, 0)"
    assert repr(~Mask.strided(4)) == "Mask(!strided(4))"

    def near(at):
        return abs(at.query - at.key) < 3

    assert str(Mask.where(near) & Mask.causal()) == "(where(near)) & (causal)"


@pytest.mark.parametrize("wrong", [np.ones((T, S), bool), "causal", lambda at: True, 3])
def test_what_is_no_mask_is_refused_with_a_way_out(wrong):
    with pytest.raises(hw.Error, match="want a Mask or a TilePlan .*Mask.allow"):
        visible(wrong)
