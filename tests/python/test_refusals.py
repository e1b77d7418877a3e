"""What is refused, and how: numbers out of their range, NaN in all of them; text that is none; names with a NUL are
kept."""

import numpy as np
import pytest

import headway as hw
from headway import text

NAN, INF = float("nan"), float("inf")
WORDS = ["the cat sat on the mat", "a dog and a log"] * 5


def model():
    return hw.models.Transformer(
        source_vocab=12,
        target_vocab=12,
        model_dim=8,
        heads=2,
        encoder_layers=1,
        decoder_layers=1,
        feed_forward_dim=8,
        generator=hw.Generator(1),
    )


def decode(**how):
    m = model()
    m.eval()
    m.decode([[4, 5, 2]], max_length=4, **how)


def sample(**how):
    decode(sampling=hw.models.Sampling(**how))


def adam(**how):
    hw.train.Adam({"w": hw.tensor(np.ones(3, np.float32)).require_grad()}, **how)


def layer(**how):
    hw.nn.MultiHeadAttention(8, 2, generator=hw.Generator(1), **how)


def transformer(**how):
    hw.models.Transformer(source_vocab=12, target_vocab=12, generator=hw.Generator(1), **how)


REFUSED = [
    (decode, "beam_size", [0, -1]),
    (decode, "length_penalty", [-1.0, NAN, INF]),
    (decode, "patience", [0.0, -1.0, NAN]),
    (decode, "num_hypotheses", [0, -1]),
    (sample, "temperature", [0.0, -1.0, NAN, INF]),
    (sample, "top_k", [-3]),
    (sample, "top_p", [0.0, 1.5, NAN]),
    (adam, "beta1", [1.0, -0.1, NAN]),
    (adam, "beta2", [1.0, -0.1, NAN]),
    (adam, "eps", [-1.0, NAN]),
    (adam, "weight_decay", [-1.0, NAN, INF]),
    (adam, "clip_norm", [-1.0, NAN]),
    (lambda **how: hw.train.Schedule(**{"rate": 1.0} | how), "rate", [-1.0, NAN, INF]),
    (lambda **how: hw.train.Schedule(1.0, **how), "warmup", [-1]),
    (lambda **how: hw.train.Schedule(1.0, **how), "floor", [-0.1, 1.5, NAN]),
    (
        lambda **how: hw.train.ExponentialAverage({"w": hw.tensor(np.ones(3, np.float32))}, **how),
        "decay",
        [1.0, -1.0, NAN],
    ),
    (transformer, "dropout", [1.0, -0.1, NAN]),
    (transformer, "attention_dropout", [1.0, -0.1, NAN]),
    (transformer, "activation_dropout", [1.0, -0.1, NAN]),
    (transformer, "model_dim", [0, -8]),
    (layer, "dropout", [1.0, -0.1, NAN]),
    (lambda **how: text.Tokenizer.train(WORDS, **how), "vocab_size", [-1, 3]),
    (lambda **how: text.Tokenizer.train(WORDS, vocab_size=30, **how), "character_coverage", [0.0, 1.5, NAN]),
    (lambda **how: text.bleu_interval(WORDS, WORDS, **how), "samples", [1, 0, -1]),
    (lambda **how: text.corpus_chrf(WORDS, WORDS, **how), "char_order", [0, 7]),
    (lambda **how: text.corpus_chrf(WORDS, WORDS, **how), "word_order", [-1, 3]),
    (lambda **how: text.corpus_chrf(WORDS, WORDS, **how), "beta", [0, -1]),
]


@pytest.mark.parametrize(
    "call, name, value",
    [(call, name, value) for call, name, values in REFUSED for value in values],
    ids=lambda x: x if isinstance(x, str) else "" if callable(x) else str(x),
)
def test_a_number_out_of_its_range_is_refused_by_name(call, name, value):
    with pytest.raises(hw.Error, match=name.split("_")[0]) as caught:
        call(**{name: value})
    assert caught.value.code in ("value", "shape")


@pytest.mark.parametrize("seed", [-1, 1 << 64])
def test_a_seed_beyond_64_bits_is_refused(seed):
    for call in (hw.Generator, lambda seed: hw.models.Sampling(seed=seed)):
        with pytest.raises((TypeError, OverflowError, hw.Error)):
            call(seed)


def test_messages_are_text_whatever_they_quote():
    for size in range(70, 84):
        with pytest.raises(hw.Error, match="Mask::parse"):
            hw.Mask.parse("x" * size + "ü😀" * 20)
    with pytest.raises(hw.Error, match="has a NUL"):
        text.Tokenizer.train(["a\0b"])
    with pytest.raises(hw.Error, match="no text"):
        text.Tokenizer.train(["\u3000", "\u2028"])


def test_names_with_a_nul_are_refused(tmp_path):
    with pytest.raises(hw.Error, match="has a NUL in its name"):
        hw.io.save_safetensors(tmp_path / "x.safetensors", {"w\0a": np.ones(2, np.float32)})
    assert not (tmp_path / "x.safetensors").exists()
    with pytest.raises((TypeError, ValueError, hw.Error)):
        hw.io.load_safetensors(str(tmp_path / "x.safetensors") + "\0y")


def test_block_characters_survive_a_tokenizer():
    sentences = ["set a▁b here", "▁", "▅ ▆"]
    tokenizer = text.Tokenizer.train(WORDS + sentences * 3, vocab_size=50)
    assert [tokenizer.decode(ids) for ids in tokenizer.encode(sentences)] == sentences
