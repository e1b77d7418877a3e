"""Tokenizers of published models: ids, offsets in characters, chats."""

import json

import pytest

import headway as hw
from headway.text import HubTokenizer, render_chat


def word_piece(**further):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "grüße", "##n", "aus", "köln", "😀", "!"]
    added = [
        {"id": i, "content": words[i], "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for i in range(4)
    ]
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {word: i for i, word in enumerate(words)},
            },
        }
        | further
    )


@pytest.fixture(scope="module")
def tokenizer():
    return HubTokenizer.from_json(word_piece())


def test_offsets_count_characters(tokenizer):
    text = "grüßen aus 😀 köln!"
    encoding = tokenizer.encode(text)
    assert encoding.ids == [2, 4, 5, 6, 8, 7, 9, 3]
    assert [text[a:b] for a, b in encoding.offsets] == ["", "grüße", "n", "aus", "😀", "köln", "!", ""]
    assert encoding.offsets[0] == (0, 0)
    assert len(encoding) == 8
    assert tokenizer.decode(encoding.ids) == "grüßen aus 😀 köln!"


def test_a_pair_has_offsets_of_its_own(tokenizer):
    first, second = "grüße aus", "ü köln"
    encoding = tokenizer.encode(first, second)
    assert encoding.type_ids == [0, 0, 0, 0, 1, 1, 1]
    assert second[slice(*encoding.offsets[5])] == "köln"


def test_batches_are_the_single_texts(tokenizer):
    texts = ["aus köln", "", "grüßen!"]
    for text, encoding in zip(texts, tokenizer.encode_batch(texts)):
        assert encoding.ids == tokenizer.encode(text).ids


def test_lengths_and_special_tokens(tokenizer):
    cut = tokenizer.encode("aus aus aus aus", max_length=4)
    assert (cut.ids, cut.truncated) == ([2, 6, 6, 3], 2)
    assert tokenizer.encode("aus", add_special_tokens=False).ids == [6]
    assert 3 not in tokenizer.encode("a[SEP]", special_in_text=False, add_special_tokens=False).ids
    assert tokenizer.token_to_id("köln") == 7 and tokenizer.token_to_id("nowhere") is None
    assert tokenizer.id_to_token(5) == "##n" and tokenizer.vocab_size == 10


def test_files(tmp_path, tokenizer):
    tokenizer.save(tmp_path / "saved")
    assert HubTokenizer.load(str(tmp_path / "saved")).encode("aus").ids == [2, 6, 3]
    with pytest.raises(hw.Error, match="there is no|nowhere") as caught:
        HubTokenizer.load(str(tmp_path / "nowhere"))
    assert caught.value.code == "io"


CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def with_template(folder, template):
    (folder / "tokenizer.json").write_text(word_piece(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template, "eos_token": "[SEP]"}))
    return HubTokenizer.load(str(folder))


def test_chats(tmp_path):
    known = with_template(tmp_path, CHATML)
    want = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert render_chat(known, [("user", "Hi")]) == want
    with pytest.raises(hw.Error, match="want system, user or assistant"):
        render_chat(known, [("robot", "Hi")])


def test_a_template_that_is_not_known_is_shown_or_rendered_by_jinja(tmp_path):
    template = "{% for m in messages %}<{{ m.role }}: {{ m.content }}{{ eos_token }}>{% endfor %}"
    strange = with_template(tmp_path, template)
    try:
        import jinja2  # noqa: F401
    except ImportError:
        with pytest.raises(hw.Error, match="not known"):
            render_chat(strange, [("user", "Hi")])
    else:
        assert render_chat(strange, [("user", "Hi")]) == "<user: Hi[SEP]>"
