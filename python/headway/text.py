"""Tokenizers and the metrics of translation."""

import importlib
from collections.abc import Sequence

from headway._core import (
    BleuScore,
    BleuTokenizer,
    Encoding,
    HubTokenizer,
    Interval,
    Tokenizer,
    TokenizerNormalization,
    TokenizerType,
    bleu_interval,
    bleu_signature,
    corpus_bleu,
    corpus_chrf,
)
from headway._error import Error

__all__ = [
    "BleuScore",
    "BleuTokenizer",
    "Encoding",
    "HubTokenizer",
    "Interval",
    "Tokenizer",
    "TokenizerNormalization",
    "TokenizerType",
    "bleu_interval",
    "bleu_signature",
    "corpus_bleu",
    "corpus_chrf",
    "render_chat",
]


def render_chat(
    tokenizer: HubTokenizer, messages: Sequence[tuple[str, str]], add_generation_prompt: bool = True
) -> str:
    """The text of a conversation of (role, content) as the model was taught to read it.

    A template that Headway does not know is rendered by jinja2, in its sandbox, where that is installed.

    Raises:
        Error: (unsupported) for a template that is not known, without jinja2; (value) for what a known one refuses.
    """
    try:
        return tokenizer.render_chat(messages, add_generation_prompt)
    except Error as error:
        if error.code != "unsupported" or not tokenizer.chat_template:
            raise
        try:
            sandbox = importlib.import_module("jinja2.sandbox")
        except ImportError:
            raise error from None
    environment = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)

    def refuse(message: str) -> None:
        raise ValueError(f"the chat template refuses the conversation: {message}")

    environment.globals["raise_exception"] = refuse
    text: str = environment.from_string(tokenizer.chat_template).render(
        messages=[{"role": role, "content": content} for role, content in messages],
        add_generation_prompt=add_generation_prompt,
        **tokenizer.special_tokens,
    )
    return text
