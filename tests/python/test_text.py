"""Tokenizers and metrics. The scores of BLEU and chrF are checked against sacreBLEU's in the tests of the library."""

import copy
import pickle

import pytest

import headway as hw
from headway import text

SENTENCES = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog", "the mat is on the log"] * 5


@pytest.fixture(scope="module")
def tokenizer():
    return text.Tokenizer.train(SENTENCES, vocab_size=40)


def test_a_tokenizer_goes_there_and_back(tokenizer, tmp_path):
    ids = tokenizer.encode(SENTENCES)
    assert len(tokenizer) == tokenizer.vocab_size == 40
    assert [tokenizer.decode(each) for each in ids] == SENTENCES
    assert tokenizer.encode(SENTENCES[0]) == ids[0]
    assert [tokenizer.id(piece) for piece in tokenizer.encode_pieces(SENTENCES[0])] == ids[0]
    tokenizer.save(tmp_path / "t.model")
    for other in (
        text.Tokenizer.load(tmp_path / "t.model"),
        pickle.loads(pickle.dumps(tokenizer)),
        copy.copy(tokenizer),
    ):
        assert other.encode(SENTENCES) == ids


def test_a_damaged_tokenizer_is_an_error(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "t.model")
    data = bytearray((tmp_path / "t.model").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "t.model").write_bytes(data)
    with pytest.raises(hw.Error) as caught:
        text.Tokenizer.load(tmp_path / "t.model")
    assert caught.value.code == "format"
    with pytest.raises(hw.Error):
        tokenizer.decode([40])


def test_bleu_and_chrf_are_counted_as_defined():
    perfect = text.corpus_bleu(SENTENCES, SENTENCES)
    assert perfect.score == pytest.approx(100) and perfect.brevity_penalty == 1
    shorter = text.corpus_bleu(["the cat sat on the"], [["the cat sat on the mat"], ["a cat sat on the mat now"]])
    # All n-grams match the first reference, the closest in length: 6 words against 5.
    assert shorter.score == pytest.approx(100 * 2.718281828459045 ** (1 - 6 / 5))
    assert "13a" in text.bleu_signature() and "BP = 1.000" in perfect.details()
    interval = text.bleu_interval(SENTENCES, SENTENCES[::-1], samples=100)
    assert interval.low <= interval.mean <= interval.high
    assert text.corpus_chrf(SENTENCES, SENTENCES) == pytest.approx(100)
    assert text.corpus_chrf(["xyz"], ["abc"]) == 0


def test_lists_that_do_not_fit_are_errors():
    with pytest.raises(hw.Error):
        text.corpus_bleu(["a"], ["a", "b"])
    with pytest.raises(hw.Error, match="references are a int"):
        text.corpus_bleu(["a"], 3)
