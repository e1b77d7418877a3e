"""A process forked after the parent computed something computes the same bits; and so does the parent afterwards."""

import multiprocessing
import os
import signal
import threading

import numpy as np
import pytest

import headway as hw
import oracle


def in_child(work):
    """What work() says in a forked child, which has 60 seconds."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        code = 1
        try:
            os.write(writing, b"good" if work() else b"bad")
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with status {status}"
    return answer == b"good"


@pytest.fixture(autouse=True)
def several_threads():
    before = hw.get_threads()
    hw.set_threads(3)
    yield
    hw.set_threads(before)


def attended():
    q, k, v = oracle.heads(0, (2, 130, 4, 16), (2, 130, 4, 16), (2, 130, 4, 16))
    return hw.attention(q, k, v, mask=hw.Mask.causal()).tobytes()


def trained():
    q, k, v = (hw.tensor(x).require_grad() for x in oracle.heads(1, (2, 70, 4, 16), (2, 70, 4, 16), (2, 70, 4, 16)))
    hw.attention(q, k, v).sum().backward()
    return b"".join(x.grad.numpy().tobytes() for x in (q, k, v))


def projected():
    layer = hw.nn.MultiHeadAttention(64, 4, generator=hw.Generator(3))
    x = np.random.default_rng(2).standard_normal((2, 40, 64), dtype=np.float32)
    return layer(x).tobytes()


LINES = [f"the cat number {i} sat on the mat of house {i * 7}" for i in range(500)]
TOKENIZER = hw.text.Tokenizer.train(LINES, vocab_size=60)


def scored():
    interval = hw.text.bleu_interval(LINES, LINES[::-1], samples=200)
    return (repr(hw.text.corpus_bleu(LINES, LINES[::-1])) + repr((interval.low, interval.high))).encode()


def tokenized():
    return repr(TOKENIZER.encode(LINES)).encode()


def tokenizer_trained():
    return repr(hw.text.Tokenizer.train(LINES[:100], vocab_size=60).encode(LINES[:5])).encode()


@pytest.mark.parametrize("compute", [attended, trained, projected, scored, tokenized, tokenizer_trained])
def test_a_child_computes_the_same_bits(compute):
    wanted = compute()
    assert in_child(lambda: compute() == wanted)
    assert in_child(lambda: in_child(lambda: compute() == wanted))
    assert compute() == wanted


def test_a_pool_of_processes_computes_the_same_bits():
    wanted = attended()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = [pool.apply_async(attended) for _ in range(4)]
        assert all(result.get(timeout=60) == wanted for result in results)


def test_a_child_computes_whatever_other_threads_were_doing():
    layer = hw.nn.Linear(64, 64, generator=hw.Generator(3))
    x = np.random.default_rng(2).standard_normal((50, 64), dtype=np.float32)
    wanted = layer(x).tobytes()
    stop = threading.Event()

    def work(seed):
        rows = 1
        while not stop.is_set():
            rows = rows % 400 + 1  # a product of a shape that is often new
            fresh = hw.nn.Linear(48 + seed, 40, generator=hw.Generator(rows))
            fresh(np.zeros((rows, 48 + seed), np.float32))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(20):
            assert in_child(lambda: layer(x).tobytes() == wanted)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
