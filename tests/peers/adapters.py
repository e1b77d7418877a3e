"""Who is held to the reference: Headway, or transformers itself in float32 (which proves the harness), perhaps with a
mistake in it (which the harness must see)."""

import dataclasses
import json
import pathlib
import re
import shutil

import numpy
import torch
import transformers as hf

import reference


class Refused(Exception):
    """The model was not loaded, with the reason."""


@dataclasses.dataclass
class Case:
    """One batch. Rows are lists of ids; a picture model has pixels [B, channels, height, width] instead."""

    rows: list | None = None
    types: list | None = None
    decoder_rows: list | None = None
    pixels: torch.Tensor | None = None


class Headway:
    """All that these tests ask of the Python package stands here."""

    name = "headway"

    def __init__(self):
        import headway

        self.headway = headway

    def load(self, folder, dtype="float32"):
        try:
            return HeadwayModel(self.headway.load(str(folder), dtype=dtype))
        except self.headway.Error as error:
            raise Refused(str(error)) from None


class HeadwayModel:
    def __init__(self, model):
        self.model = model

    def run(self, case):
        extra = {}
        if case.types is not None:
            extra["token_types"] = case.types
        if case.decoder_rows is not None:
            extra["decoder_ids"] = case.decoder_rows
        rows = case.rows if case.pixels is None else case.pixels.numpy()
        states = self.model.hidden_states(rows, **extra)
        results = {}
        if case.decoder_rows is not None:  # of an encoder–decoder: (the encoder's, the decoder's)
            results |= {f"decoder.hidden.{i}": packed(state) for i, state in enumerate(states[1])}
            states = states[0]
        results |= {f"hidden.{i}": packed(state) for i, state in enumerate(states)}
        logits = self.model.logits(rows, **extra)  # None of a model without a head
        return results if logits is None else results | {"logits": packed(logits)}

    def write(self, prompt, count):
        return list(self.model.generate_ids(prompt, max_new_tokens=count, temperature=0))

    def export(self, folder):
        self.model.export(str(folder))


def packed(value):
    """[N, …], be it given so, as one array for each row, or [B, T, …] of rows of one length."""
    if isinstance(value, (list, tuple)):
        value = numpy.concatenate([numpy.atleast_2d(numpy.asarray(part)) for part in value])
    return torch.as_tensor(numpy.asarray(value)).double()


def load_folder(folder, dtype=torch.float32, attention=None):
    """The model that transformers makes of a folder, by the class its configuration names."""
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    kind = getattr(hf, config["architectures"][0])
    return kind.from_pretrained(folder, dtype=dtype, attn_implementation=attention).eval()


class Itself:
    """transformers, loading the folder anew, with eager attention where the baseline has the fused one."""

    def __init__(self, fault=None):
        self.fault = fault
        self.name = "transformers" + (f" with {fault.__name__}" if fault else "")

    def load(self, folder, dtype="float32"):
        model = load_folder(folder, getattr(torch, dtype), attention="eager")
        if self.fault and not self.fault(model):
            raise NotApplicable
        return ItselfModel(model, folder)


class NotApplicable(Exception):
    """The configuration has nothing that the mistake could be made in."""


class ItselfModel:
    def __init__(self, model, folder=None):
        self.model, self.folder = model, folder

    def run(self, case):
        pixels = None if case.pixels is None else case.pixels.to(self.model.dtype)
        results = reference.run(self.model, case.rows, case.types, case.decoder_rows, pixels)
        return {key: value.double() for key, value in results.items()}

    def write(self, prompt, count):
        return reference.greedy(self.model, prompt, count)

    def export(self, folder):
        self.model.save_pretrained(folder)
        shutil.copy(self.folder / "config.json", folder)  # transformers would write its newer names


def wrong_epsilon(model):
    """The usual epsilon in place of the configuration's; where the usual one is right, another."""
    norms = [m for m in model.modules() if hasattr(m, "eps") or hasattr(m, "variance_epsilon")]
    for norm in norms:
        name = "eps" if hasattr(norm, "eps") else "variance_epsilon"
        setattr(norm, name, 1e-5 if getattr(norm, name) >= 1e-3 else 3e-3)
    return bool(norms)


def missing_bias(model):
    """One bias left out; a key's does not count, softmax does not see it."""
    for name, tensor in model.named_parameters():
        layer = re.search(r"(layers?|h|albert_layers|block)\.\d", name)
        if layer and name.endswith("bias") and tensor.dim() == 1 and not re.search(r"\.(key|k_proj|k_lin)\.", name):
            tensor.data.zero_()
            return True
    return False


def swapped_heads(model):
    """The queries of the first head and of the last, in the first layer."""
    heads = model.config.num_attention_heads
    for name, module in model.named_modules():
        if re.search(r"\.(query|q_proj|q_lin|q|Wqkv|c_attn)$", name) and heads > 1:
            fused = name.endswith(("Wqkv", "c_attn"))
            for tensor in module.parameters():
                outputs = tensor.data.t() if name.endswith("c_attn") and tensor.dim() == 2 else tensor.data
                width = len(outputs) // (3 if fused else 1) // heads
                first, last = outputs[:width].clone(), outputs[(heads - 1) * width : heads * width].clone()
                outputs[:width], outputs[(heads - 1) * width : heads * width] = last, first
            return True
    return False


def wider_window(model):
    config = model.config
    layers = getattr(config, "layer_types", None) or ["sliding_attention"]
    window = getattr(config, "sliding_window", None)
    if window is None or "sliding_attention" not in layers or window > 8:
        return False
    config.sliding_window = window + 1
    return True


def other_activation(model):
    changed = False
    for module in model.modules():
        for name in ("act", "act_fn", "activation_fn", "activation", "intermediate_act_fn"):
            current = getattr(module, name, None)
            if callable(current) and "Model" not in type(module).__name__ and "Pooler" not in type(module).__name__:
                tanh = type(current).__name__ in ("NewGELUActivation", "GELUTanh")
                setattr(module, name, hf.activations.ACT2FN["gelu" if tanh else "gelu_new"])
                changed |= type(current).__name__ not in ("FastGELUActivation",)
    return changed


FAULTS = [wrong_epsilon, missing_bias, swapped_heads, wider_window, other_activation]
