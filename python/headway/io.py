"""Arrays in files."""

from headway._core import (
    load_safetensors,
    save_safetensors,
)

__all__ = [
    "load_safetensors",
    "save_safetensors",
]
