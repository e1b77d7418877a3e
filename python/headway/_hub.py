"""Models of other people, from their own files."""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from headway import _core


class Model:
    """A model as its files describe it, with everything that one can do with it. Made by `headway.load`."""

    def __init__(self, spec: str, dtype: str = "float32"):
        self._spec, self._dtype = str(spec), dtype
        self._model = _core.HubModel(self._spec, dtype)

    @functools.cached_property
    def _writer(self) -> Any:
        return _core.TextGenerator(self._model)

    @functools.cached_property
    def _embedder(self) -> Any:
        return _core.Embedder(self._model)

    @functools.cached_property
    def _classifier(self) -> Any:
        return _core.Classifier(self._model)

    @functools.cached_property
    def tokenizer(self) -> _core.HubTokenizer:
        """The tokenizer of the model's files."""
        return _core.HubTokenizer.load(self._spec)

    def __repr__(self) -> str:
        return f"headway.load({self._spec!r}, dtype={self._dtype!r})  # {self.architecture or self.model_type}"

    @property
    def model_type(self) -> str:
        """What config.json calls the family: "bert", "llama"."""
        return self._model.model_type

    @property
    def architecture(self) -> str:
        """The class that transformers would make: "BertForSequenceClassification", or "" where the files name none."""
        return self._model.architecture

    @property
    def config(self) -> str:
        """config.json's text; of a GGUF file one that says the same."""
        return self._model.config

    @property
    def labels(self) -> list[str]:
        """Names of a classifier's classes."""
        return self._model.labels

    @property
    def notes(self) -> list[str]:
        """Fields of the configuration that were passed over: none that is known to change the function."""
        return self._model.notes

    # What the model computes.

    def hidden_states(self, input: Any, *, token_types: Any = None, decoder_ids: Any = None) -> Any:
        """Every hidden state of rows of ids (or of images [B, 3, height, width]): a list of float32 arrays [N, C], the
        rows one after another, as transformers lists them: what enters the first block, each block's result, the last
        one after the final norm. With decoder_ids a pair of lists: the encoder's and the decoder's."""
        return self._model.hidden_states(input, token_types=token_types, decoder_ids=decoder_ids)

    def logits(self, input: Any, *, token_types: Any = None, decoder_ids: Any = None) -> Any:
        """What the output layer or head says, float32: [N, V] of a language model, [B, K] of a classifier, [N, K] of a
        token classifier, [N, 2] of spans. None for a model without one."""
        return self._model.logits(input, token_types=token_types, decoder_ids=decoder_ids)

    def generate_ids(
        self,
        prompt: Sequence[int],
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        end: Sequence[int] = (),
    ) -> list[int]:
        """New token ids after a prompt of ids; temperature 0 takes the most probable token."""
        return self._model.generate_ids(list(prompt), max_new_tokens, temperature, seed, list(end))

    # Text in, text out.

    def generate(
        self,
        prompt: str | Iterable[str],
        *,
        max_new_tokens: int = 256,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        presence_penalty: float | None = None,
        seed: int = 0,
        stop: Sequence[str] = (),
        on_text: Callable[[str], object] | None = None,
    ) -> Any:
        """Goes on with a text, or with each of several: the new text, or a list. What is not given is as the model's
        files propose; temperature 0 takes the most probable token. `on_text` is told of the text of one prompt as it
        is written, whole characters; where it returns False the text ends."""
        writing = _core.Writing(
            max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, seed, list(stop)
        )
        one = isinstance(prompt, str)
        if on_text is not None and not one:
            raise TypeError("on_text is told of one text; prompt is a list of them")
        texts = self._writer.write([prompt] if one else list(prompt), writing, _told(on_text))
        return texts[0] if one else texts

    def chat(self, system: str = "") -> "Chat":
        """A conversation: `chat = model.chat(); chat("Hello")`."""
        return Chat(self._writer, system)

    def perplexity(self, text: str, *, context: int = 0, stride: int = 0) -> dict[str, float]:
        """How well the model foresees a text: perplexity, loss (a token, natural), bits_per_byte; tokens and
        bytes that were scored. Without a begin token the first token is given, not scored."""
        values = self._writer.perplexity(text, context, stride)
        return dict(zip(("perplexity", "loss", "bits_per_byte"), values)) | {
            "tokens": int(values[3]),
            "bytes": int(values[4]),
        }

    def embed(
        self, texts: str | Iterable[str], *, normalize: bool | None = None, prompt: str = "", prompt_name: str = ""
    ) -> Any:
        """Vectors of texts, float32 [texts, width] (of one text: [width]), pooled and normalized as the model's files
        say."""
        one = isinstance(texts, str)
        rows = self._embedder(
            [texts] if one else list(texts), normalize=normalize, prompt=prompt, prompt_name=prompt_name
        )
        return rows[0] if one else rows

    def encode(
        self,
        sentences: str | Iterable[str],
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> Any:
        """`embed` under the name and arguments that sentence-transformers gives it: normalize_embeddings normalizes
        even where the model's files do not. Batches are packed by tokens: batch_size and show_progress_bar change
        nothing."""
        return self.embed(
            sentences,
            normalize=True if normalize_embeddings else None,
            prompt=prompt or "",
            prompt_name=prompt_name or "",
        )

    def classify(self, inputs: Any, *, shots: Sequence[tuple[str, str]] = ()) -> Any:
        """Classes of a text, a pair of texts, an image file, or of several: for each a list of (label, probability),
        the most probable first. With shots, examples (text, label), by a language model (few-shot)."""
        one = isinstance(inputs, (str, tuple, os.PathLike))
        items = [inputs] if one else list(inputs)
        if shots:
            out = self._writer.classify(list(shots), items)
        elif items and all(isinstance(item, tuple) for item in items):
            out = self._classifier.pairs(items)
        else:
            out = self._classifier([os.fspath(item) for item in items])
        return out[0] if one else out

    def export(self, out: Any, weights: str = "f16") -> None:
        """Writes the model as a folder that transformers loads, its side files with it; where `out` ends in .gguf as a
        GGUF file for llama.cpp, its matrices as `weights` say: f32, f16, bf16 or q8_0."""
        if str(out).endswith(".gguf"):
            _core.export_gguf(self._spec, str(out), weights)
        else:
            _core.export_model(self._spec, str(out))


class Chat:
    """A conversation with a model that was taught one."""

    def __init__(self, writer: Any, system: str):
        self._writer = writer
        self._conversation = _core.Conversation(writer, system)

    def __call__(
        self,
        message: str,
        *,
        max_new_tokens: int = 256,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        presence_penalty: float | None = None,
        seed: int = 0,
        stop: Sequence[str] = (),
        on_text: Callable[[str], object] | None = None,
    ) -> str:
        """The reply to one more turn of the user."""
        writing = _core.Writing(
            max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, seed, list(stop)
        )
        return self._conversation(self._writer, message, writing, _told(on_text))

    @property
    def messages(self) -> list[tuple[str, str]]:
        """(role, content) of all turns so far."""
        return self._conversation.messages


def _told(on_text: Callable[[str], object] | None) -> Any:
    if on_text is None:
        return None
    return lambda _, piece: on_text(piece) is not False


def load(spec: Any, dtype: str = "float32") -> Model:
    """Loads a model from a Hugging Face folder, a .gguf file, or ORG/NAME in the local cache (HF_HUB_CACHE, HF_HOME).

    Args:
        dtype: of activations and packed weights, "float32" or "bfloat16".
    Raises:
        Error: (unsupported) naming the configuration's field that asks for what is not built; (format) naming tensors
            that are missing, surplus or of another shape; (io) where nothing is there.
    """
    return Model(spec, dtype)


__all__ = ["Chat", "Model", "load"]
