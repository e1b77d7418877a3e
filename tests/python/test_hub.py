"""headway.load: models of other people, against NumPy on their hidden states and logits."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import headway as hw

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))

import tiny_models  # noqa: E402
from tiny_models import tokens  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("models")
    tiny_models.golden(out / "bert", "bert-sequence", before=[1], after=[2])
    tiny_models.golden(out / "llama", "llama")
    tiny_models.golden(out / "t5", "t5")
    tiny_models.golden(out / "vit", "vit-classes")
    tiny_models.Bigrams(out / "line", tiny_models.chain("cäbdefgh"))
    return out


def softmax(logits):
    e = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


TEXTS = ["a text", "b", "some more", "a text"]


def test_a_model_says_what_it_is(folder):
    model = hw.load(folder / "bert")
    assert model.model_type == "bert" and model.architecture == "BertForSequenceClassification"
    assert model.labels == ["LABEL_0", "LABEL_1", "LABEL_2"] and model.notes == []
    assert json.loads(model.config)["hidden_size"] == 12
    assert repr(model) == f"headway.load({str(folder / 'bert')!r}, dtype='float32')  # BertForSequenceClassification"


def test_embed_pools_hidden_states(folder):
    model = hw.load(folder / "bert")
    ids = [[1, *tokens(text), 2] for text in TEXTS]
    hidden = model.hidden_states(ids)[-1]
    edges = np.cumsum([0, *map(len, ids)])
    want = np.stack([hidden[a:b].mean(axis=0, dtype=np.float64) for a, b in zip(edges, edges[1:])])
    rows = model.embed(TEXTS)
    assert rows.dtype == np.float32 and rows.shape == (4, 12)
    np.testing.assert_allclose(rows, want, atol=1e-6)
    length = np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(model.embed(TEXTS, normalize=True), want / length, atol=1e-6)
    assert np.array_equal(model.embed("b"), rows[1]) and model.embed([]).shape == (0, 12)
    assert np.array_equal(model.embed(["text"], prompt="a "), rows[:1])
    with pytest.raises(hw.Error, match='prompt_name is "poem"; this model has none'):
        model.embed(TEXTS, prompt_name="poem")


def test_encode_takes_what_sentence_transformers_takes(folder, tmp_path):
    normal = tmp_path / "normal"
    shutil.copytree(folder / "bert", normal)
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
    tiny_models.write_json(normal / "modules.json", modules)
    tiny_models.write_json(normal / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    tiny_models.write_json(normal / "config_sentence_transformers.json", {"prompts": {"query": "a "}})
    plain, model = hw.load(folder / "bert"), hw.load(normal)
    rows = plain.encode(TEXTS)
    assert np.array_equal(rows, plain.embed(TEXTS))
    for size in (1, 2, 1000):
        assert np.array_equal(plain.encode(TEXTS, batch_size=size, show_progress_bar=False), rows)
    unit = plain.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    # A module that normalizes does so, asked or not.
    assert np.array_equal(model.encode(TEXTS), model.encode(TEXTS, normalize_embeddings=True))
    np.testing.assert_allclose(np.linalg.norm(model.encode(TEXTS), axis=1), 1, atol=1e-6)
    assert not np.allclose(model.embed(TEXTS, normalize=False), model.encode(TEXTS))
    first = model.hidden_states([[1, *tokens("b"), 2]])[-1][0]
    np.testing.assert_allclose(model.embed("b", normalize=False), first, atol=1e-6)
    assert np.array_equal(model.encode(["text"], prompt_name="query"), model.encode(TEXTS[:1]))
    assert np.array_equal(plain.encode("b"), rows[1])
    with pytest.raises(TypeError):
        plain.encode(TEXTS, convert_to_tensor=True)


def test_dense_layers_follow_pooling(folder, tmp_path):
    model = tmp_path / "dense"
    shutil.copytree(folder / "bert", model)
    draw = np.random.default_rng(2)
    weights, bias = draw.standard_normal((5, 24)).astype(np.float32), draw.standard_normal(5).astype(np.float32)
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
    tiny_models.write_json(model / "modules.json", modules)
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    tiny_models.write_json(model / "1_Pooling" / "config.json", pooling)
    ids = [1, *tokens("some"), 2]
    hidden = hw.load(model).hidden_states([ids])[-1]
    pooled = np.concatenate([hidden[0], hidden.mean(axis=0)])
    for kind, function in [("Tanh", np.tanh), ("ReLU", lambda x: np.maximum(x, 0)), ("Identity", lambda x: x)]:
        name = "torch.nn.modules.linear.Identity" if kind == "Identity" else f"torch.nn.modules.activation.{kind}"
        for has_bias in (True, False):
            config = {"in_features": 24, "out_features": 5, "bias": has_bias, "activation_function": name}
            tiny_models.write_json(model / "2_Dense" / "config.json", config)
            tensors = {"linear.weight": ([5, 24], weights.ravel())} | ({"linear.bias": ([5], bias)} if has_bias else {})
            tiny_models.write_tensors(model / "2_Dense" / "model.safetensors", tensors)
            want = function(weights @ pooled + (bias if has_bias else 0))
            np.testing.assert_allclose(hw.load(model).embed("some"), want, atol=1e-5)
    tiny_models.change_json(model / "2_Dense" / "config.json", activation_function="torch.nn.Poem")
    with pytest.raises(hw.Error, match="activation_function is torch.nn.Poem"):
        hw.load(model).embed("some")


def test_generate_is_greedy_on_logits(folder):
    model = hw.load(folder / "llama")
    for text in ["abc", "some text"]:
        ids = tokens(text)
        for _ in range(12):
            ids.append(int(model.logits([ids])[-1].argmax()))
        want = tiny_models.text_of(ids[len(tokens(text)) :])
        assert model.generate(text, max_new_tokens=12, temperature=0) == want
        assert model.generate_ids(tokens(text), max_new_tokens=12) == ids[len(tokens(text)) :]
    together = model.generate(["abc", "some text"], max_new_tokens=12, temperature=1.0, seed=4)
    assert together == [model.generate(t, max_new_tokens=12, temperature=1.0, seed=4) for t in ["abc", "some text"]]
    assert model.generate([]) == []


def test_generate_tells_of_text_as_it_is_written(folder):
    model = hw.load(folder / "line")
    told = []
    assert model.generate("c", on_text=told.append) == "äbdefgh"
    assert told == list("äbdefgh")
    told.clear()
    assert model.generate("c", stop=["eg", "fgh"], on_text=told.append) == "äbde"
    assert "".join(told) == "äbde"
    # False ends a text, and nothing comes after it.
    told.clear()
    assert model.generate("c", on_text=lambda piece: told.append(piece) or piece != "b") == "äb"
    assert told == ["ä", "b"]
    told.clear()
    assert model.generate("c", stop=["fgz"], on_text=lambda piece: told.append(piece) or piece != "e") == "äbde"
    with pytest.raises(ZeroDivisionError):
        model.generate("c", on_text=lambda piece: 1 // 0)
    with pytest.raises(TypeError, match="one text"):
        model.generate(["c"], on_text=told.append)


def test_what_cannot_be_done_is_said(folder, tmp_path):
    model = hw.load(folder / "line")
    with pytest.raises(hw.Error, match="want one of them"):
        model.generate("c", temperature=0, top_k=2)
    with pytest.raises(hw.Error, match="max_new_tokens is 0; want at least 1"):
        model.generate("c", max_new_tokens=0)
    with pytest.raises(hw.Error, match="temperature is -1"):
        model.generate("c", temperature=-1)
    with pytest.raises(hw.Error, match="has no chat template"):
        model.chat()
    with pytest.raises(hw.Error, match="want a model for sequence or image classification"):
        model.classify("c")
    with pytest.raises(hw.Error, match="which writes no text"):
        hw.load(folder / "bert").generate("c")
    with pytest.raises(hw.Error, match="dtype is int8; want float32 or bfloat16"):
        hw.load(folder / "line", dtype="int8")
    with pytest.raises(hw.Error, match="nowhere"):
        hw.load(tmp_path / "nowhere")


def test_perplexity_is_that_of_logits(folder):
    model = hw.load(folder / "llama")
    text = "some text that is a line or two\nand a half, of letters\n" * 3
    ids = tokens(text)
    for context, stride in [(0, 0), (20, 7)]:
        losses, scored = [], 1
        for start in range(0, len(ids), stride or 32):
            window = ids[start : start + (context or 64)]
            p = softmax(model.logits([window]))
            losses += [-np.log(p[i - 1, window[i]]) for i in range(scored - start, len(window))]
            scored = max(scored, start + len(window))
            if scored == len(ids):
                break
        found = model.perplexity(text, context=context, stride=stride)
        assert found["tokens"] == len(losses) == len(ids) - 1 and found["bytes"] == len(text) - 1
        assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
        assert found["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)
        assert found["bits_per_byte"] == pytest.approx(np.sum(losses) / np.log(2) / (len(text) - 1), rel=1e-5)


def test_classify_is_the_softmax_of_logits(folder, tmp_path):
    model = hw.load(folder / "bert")
    p = softmax(model.logits([[1, *tokens(text), 2] for text in TEXTS]))
    found = model.classify(TEXTS)
    for row, got in zip(p, found):
        order = np.argsort(-row)
        assert [label for label, _ in got] == [f"LABEL_{k}" for k in order]
        np.testing.assert_allclose([value for _, value in got], row[order], atol=1e-6)
    assert model.classify("b") == found[1]
    pair = model.logits([[1, *tokens("ab"), 2, *tokens("c"), 2]], token_types=[[0, 0, 0, 0, 1, 1]])
    got = dict(model.classify(("ab", "c")))
    np.testing.assert_allclose([got[f"LABEL_{k}"] for k in range(3)], softmax(pair)[0], atol=1e-6)
    assert model.classify([("ab", "c"), ("b", "a")])[0] == model.classify(("ab", "c"))

    size = {"image_processor_type": "ViTImageProcessor", "size": {"height": 12, "width": 12}}
    tiny_models.write_json(folder / "vit" / "preprocessor_config.json", size)
    pixels = np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8)
    (tmp_path / "a.ppm").write_bytes(b"P6 12 12 255\n" + pixels.tobytes())
    model = hw.load(folder / "vit")
    image = ((pixels / 255.0 - 0.5) / 0.5).astype(np.float32).transpose(2, 0, 1)[None]
    got = dict(model.classify(tmp_path / "a.ppm"))
    np.testing.assert_allclose([got[f"LABEL_{k}"] for k in range(3)], softmax(model.logits(image))[0], atol=1e-5)
    assert model.classify([str(tmp_path / "a.ppm")])[0] == model.classify(tmp_path / "a.ppm")


def test_classify_by_examples(tmp_path):
    few = tiny_models.Bigrams(tmp_path / "few", lambda t, n: ((7 * t + 11 * n + t * n) % 29) / 4, positions=200)
    model = hw.load(few.folder)
    shots = [("fine", "good"), ("rain", "bad")]
    found = model.classify(["sun", "so"], shots=shots)
    assert found[0] == model.classify("sun", shots=shots) and len(found) == 2
    before = tokens("Text: fine\nLabel: good\n\nText: rain\nLabel: bad\n\nText: sun\nLabel:")
    means = {}
    for label in ("good", "bad"):
        ids = before + tokens(f" {label}\n")
        p = softmax(model.logits([ids]))
        means[label] = np.mean([np.log(p[i - 1, ids[i]]) for i in range(len(before), len(ids))])
    assert found[0][0][0] == max(means, key=means.get)
    assert dict(found[0])["good"] == pytest.approx(1 / (1 + np.exp(means["bad"] - means["good"])), rel=1e-4)


def test_chat_remembers(folder, tmp_path):
    talker = tmp_path / "chat"
    shutil.copytree(folder / "llama", talker)
    tiny_models.write_json(talker / "tokenizer.json", tiny_models.tokenizer(names=("<|im_start|>", "<|im_end|>")))
    tiny_models.change_json(talker / "config.json", max_position_embeddings=400)
    template = "{{'<|im_start|>' + m['role'] + m['content'] + '<|im_end|>'}}"
    tiny_models.write_json(talker / "tokenizer_config.json", {"chat_template": template})
    model = hw.load(talker)
    chat = model.chat("be brief")
    text = "<|im_start|>system\nbe brief<|im_end|>\n"
    for message in ["hi", "and now"]:
        text += f"<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n"
        told = []
        reply = chat(message, temperature=0, max_new_tokens=15, on_text=told.append)
        assert reply == model.generate(text, temperature=0, max_new_tokens=15) == "".join(told)
        text += f"{reply}<|im_end|>\n"
    assert [role for role, _ in chat.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert chat.messages[-1] == ("assistant", reply)
    with pytest.raises(hw.Error, match="begin a new one"):
        chat("a" * 400)
    assert len(chat.messages) == 5


def test_export_comes_back(folder, tmp_path):
    model = hw.load(folder / "t5")
    model.export(tmp_path / "out")
    assert hw.load(tmp_path / "out").generate("abc", max_new_tokens=9) == model.generate("abc", max_new_tokens=9)
    with pytest.raises(hw.Error, match="exists; want a new name"):
        model.export(tmp_path / "out")


def test_whatever_one_does_with_a_model_its_weights_are_loaded_once(folder, tmp_path):
    once = tmp_path / "once"
    shutil.copytree(folder / "bert", once)
    model, other = hw.load(once), hw.load(folder / "bert")
    (once / "config.json").unlink()
    (once / "model.safetensors").unlink()
    assert model.classify("b") == other.classify("b")
    assert np.array_equal(model.embed("b"), other.embed("b"))
