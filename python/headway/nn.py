"""Layers. They take Tensors and give Tensors, recorded for backward(), or take arrays and give arrays, not recorded."""

from __future__ import annotations

from typing import Iterator

from headway._core import (
    Activation,
    Composite,
    DecoderLayer,
    Embedding,
    EncoderLayer,
    FeedForward,
    FeedForwardKind,
    Generator,
    Head,
    HeadInput,
    KeyValueCache,
    Linear,
    MultiHeadAttention,
    NativeModule,
    Norm,
    NormKind,
    NormPlacement,
    Projection,
    Tensor,
    position_ids,
    sinusoidal_positions,
)
from headway._error import Error


class Module(Composite):
    """A module made of others. What is assigned as an attribute joins it under the attribute's name: modules and lists
    of modules as children, Tensors that take a gradient as parameters.

    Example:
        class Classifier(headway.nn.Module):
            def __init__(self, generator):
                super().__init__()
                self.attention = headway.nn.MultiHeadAttention(64, 4, generator=generator)
                self.output = headway.nn.Linear(64, 2, generator=generator)

            def __call__(self, x):
                return self.output(self.attention(x))
    """

    def __setattr__(self, name: str, value: object) -> None:
        parts = value if isinstance(value, (list, tuple)) else [value]
        if any(_is_part(part) for part in parts):
            if name in self.__dict__:
                raise Error(
                    f"Module: attribute {name} holds a part already; want each assigned once", "value", "Module"
                )
            for number, part in enumerate(parts):
                self._adopt(name if part is value else f"{name}.{number}", part)
        super().__setattr__(name, value)

    def train(self, generator: Generator) -> None:
        """Training mode: dropout is active and draws from `generator`."""
        for module in self._modules():
            NativeModule.train(module, generator)  # by itself, so that a part that outlives this module keeps it, too

    def _modules(self) -> Iterator[NativeModule]:
        yield self
        for value in self.__dict__.values():
            for part in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(part, Module):
                    yield from part._modules()
                elif isinstance(part, NativeModule):
                    yield part

    def __getstate__(self) -> tuple[dict[str, object], list[Generator | None]]:
        return self.__dict__, [module._generator for module in self._modules()]

    def __setstate__(self, state: tuple[dict[str, object], list[Generator | None]]) -> None:
        attributes, generators = state
        Composite.__init__(self)
        for name, value in attributes.items():
            setattr(self, name, value)
        # A part that joins takes the whole's mode: each gets back its own.
        for module, generator in zip(self._modules(), generators):
            NativeModule.eval(module) if generator is None else NativeModule.train(module, generator)

    def _adopt(self, name: str, part: object) -> None:
        if isinstance(part, NativeModule):
            self._add_child(name, part)
            if self._generator is not None:
                part.train(self._generator)
        elif isinstance(part, Tensor) and part.requires_grad:
            self._add_parameter(name, part)
        else:
            message = f"Module: {name} is a {type(part).__name__} among modules and parameters; want those alone"
            raise Error(message, "value", "Module")


def _is_part(value: object) -> bool:
    return isinstance(value, NativeModule) or (isinstance(value, Tensor) and value.requires_grad)


__all__ = [
    "Activation",
    "DecoderLayer",
    "Embedding",
    "EncoderLayer",
    "FeedForward",
    "FeedForwardKind",
    "Head",
    "HeadInput",
    "KeyValueCache",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "NativeModule",
    "Norm",
    "NormKind",
    "NormPlacement",
    "Projection",
    "position_ids",
    "sinusoidal_positions",
]
