"""Work runs without the interpreter's lock, on the library's threads."""

import os
import threading
import time

import numpy as np
import pytest

import headway as hw
import oracle


def test_python_goes_on_while_attention_works():
    q, k, v = oracle.heads(0, (1, 4096, 4, 64), (1, 4096, 4, 64), (1, 4096, 4, 64))
    started, done = threading.Event(), threading.Event()

    def work():
        started.set()
        hw.attention(q, k, v)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    started.wait()
    turns = 0
    while not done.is_set():
        time.sleep(0.001)
        turns += 1
    worker.join()
    # A call that kept the lock would let this thread run before it and after it alone.
    assert turns > 5


def test_many_threads_may_call_at_once():
    q, k, v = oracle.heads(1, (2, 64, 4, 16), (2, 64, 4, 16), (2, 64, 4, 16))
    mask = hw.Mask.where(lambda at: at.key <= at.query)
    wanted = hw.attention(q, k, v, mask=hw.Mask.causal())
    results = []

    def work():
        for _ in range(20):
            leaf = hw.tensor(q).require_grad()
            out = hw.attention(leaf, k, v, mask=mask)
            out.sum().backward()
            results.append(np.abs(out.detach().numpy() - wanted).max())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 80 and max(results) <= oracle.tolerance(wanted)


def test_set_threads_rules_the_number_of_threads():
    before = hw.get_threads()
    try:
        hw.set_threads(3)
        assert hw.get_threads() == 3
        q, k, v = oracle.heads(2, (4, 256, 4, 64), (4, 256, 4, 64), (4, 256, 4, 64))
        hw.attention(q, k, v)
        # The pool keeps its workers asleep; it never has more than it was told.
        assert len(os.listdir("/proc/self/task")) - threading.active_count() >= 2
        with pytest.raises(hw.Error, match="set_threads: count is 0; want 1 to 1024"):
            hw.set_threads(0)
    finally:
        hw.set_threads(before)
