"""Mask.where: a Python predicate, asked for many pairs at once."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np
import numpy.typing as npt

from headway._error import Error

_NAME = "Mask.where"
_ROWS = 512  # queries asked about in one call: a few megabytes of whatever the predicate computes


class Pairs:
    """Some queries and all keys of one head of one sequence: what a predicate decides about.

    Attributes:
        query: [n, 1] int64: the numbers of the queries, within their sequence.
        key: [1, m] int64: the numbers of the keys.
        queries, keys: T and S of the sequence.
        sequence, head: b and h. A predicate that never asks for them is not asked again for each.
    """

    def __init__(self, sequence: int, head: int, queries: int, keys: int) -> None:
        self._sequence, self._head = sequence, head
        self.queries, self.keys = queries, keys
        self.query: npt.NDArray[np.int64] = np.empty((0, 1), np.int64)
        self.key: npt.NDArray[np.int64] = np.arange(keys, dtype=np.int64)[None, :]
        self.by_sequence = self.by_head = False

    @property
    def sequence(self) -> int:
        self.by_sequence = True
        return self._sequence

    @property
    def head(self) -> int:
        self.by_head = True
        return self._head


def _fill(table: npt.NDArray[np.bool_], predicate: Callable[[Pairs], npt.ArrayLike], at: Pairs) -> None:
    for begin in range(0, at.queries, _ROWS):
        end = min(begin + _ROWS, at.queries)
        at.query = np.arange(begin, end, dtype=np.int64)[:, None]
        seen = np.asarray(predicate(at))
        if seen.dtype != np.bool_:
            raise Error(f"{_NAME}: the predicate answered with {seen.dtype}; want bool", "dtype", _NAME)
        try:
            table[begin:end, : at.keys] = seen
        except ValueError:
            wanted = f"[{end - begin}, {at.keys}]"
            message = f"{_NAME}: the predicate answered with shape {seen.shape}; want what broadcasts to {wanted}"
            raise Error(message, "shape", _NAME) from None


def tabulate(
    predicate: Callable[[Pairs], npt.ArrayLike],
    lengths: Sequence[tuple[int, int]],
    heads: int,
    longest_queries: int,
    longest_keys: int,
) -> npt.NDArray[np.bool_]:
    """What the predicate says of every pair: [B, H, T, S], with dimensions of 1 where it says the same of all."""
    by_sequence, by_head = len(set(lengths)) > 1, False
    tables: dict[tuple[int, int], npt.NDArray[np.bool_]] = {}
    sequence = 0
    while sequence < (len(lengths) if by_sequence else min(1, len(lengths))):
        head = 0
        while head < (heads if by_head else min(1, heads)):
            at = Pairs(sequence, head, *lengths[sequence])
            table = np.zeros((longest_queries, longest_keys), np.bool_)
            _fill(table, predicate, at)
            tables[sequence, head] = table
            by_sequence, by_head = by_sequence or at.by_sequence, by_head or at.by_head
            head += 1
        sequence += 1
    rows = range(len(lengths) if by_sequence else 1)
    columns = range(heads if by_head else 1)
    empty = np.zeros((longest_queries, longest_keys), np.bool_)
    # Where a later table was the first to ask for its head, those before asked for none: they hold for all heads.
    return np.stack([np.stack([tables.get((b, h), tables.get((b, 0), empty)) for h in columns]) for b in rows])
