"""replace()."""

from __future__ import annotations

from typing import TypeVar, cast

from torch import nn

from headway.torch._multihead import MultiheadAttention

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def replace(model: ModuleT) -> ModuleT:
    """Puts a headway.torch.MultiheadAttention in the place of every nn.MultiheadAttention in the model, those of
    nn.TransformerEncoderLayer and nn.TransformerDecoderLayer among them. Parameters are the same objects: optimizers
    and ties stay valid. Subclasses of nn.MultiheadAttention have attention of their own and stay.

    Returns:
        The model, changed; a new layer where the model itself is an nn.MultiheadAttention.
    """
    made: dict[int, nn.Module] = {}
    if type(model) is nn.MultiheadAttention:
        return cast(ModuleT, _swapped(model))
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.MultiheadAttention:
                made.setdefault(id(child), _swapped(child))
                setattr(module, name, made[id(child)])
    return model


def _swapped(old: nn.Module) -> MultiheadAttention:
    new = MultiheadAttention.__new__(MultiheadAttention)
    # Hooks, mode and parameters are attributes; the class is all that changes.
    new.__dict__.update(old.__dict__)
    new._forgo_fast_path()
    return new
