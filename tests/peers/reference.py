"""What transformers computes, in float64: the reference for models that come in as Hugging Face folders.

`model.double()` alone is not a float64 model: norms, softmax and rotary positions cast to float32 inside. `Float64`
turns those casts into casts to float64, so the error of a result is about 1e-15, not 1e-7.
"""

import torch
from torch.overrides import TorchFunctionMode


class Float64(TorchFunctionMode):
    """Within it, whatever asks for float32 gets float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            return args[0].double()
        swap = lambda value: torch.float64 if value is torch.float32 else value
        return func(*map(swap, args), **{name: swap(value) for name, value in (kwargs or {}).items()})


def randomize(model, seed):
    """Fills every parameter and stored buffer so that no term of the model is too small to be missed: linear layers
    have a gain of about 1.2, embeddings and tables of positions a spread of 0.6 after any scale, norms' weights one of
    0.2 about where they start, biases of 0.2."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: p for name, p in model.named_parameters() if p.requires_grad}  # Marian's sinusoids are constants
    tensors |= {name: b for name, b in model.named_buffers() if name.endswith("final_logits_bias")}
    family = getattr(model.config, "model_type", "transfo-xl")
    scale = getattr(model.config, "scale_embedding", False) or family.startswith(("gemma", "transfo-xl"))
    width = model.config.hidden_size**0.5 if scale else 1.0
    with torch.no_grad():
        for name, tensor in sorted(tensors.items()):
            module = model.get_submodule(name.rpartition(".")[0])
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() == 1 or name.endswith("final_logits_bias"):
                start = tensor.mean().round() if name.endswith("weight") else 0.0
                tensor.copy_(start + 0.2 * noise)
            elif isinstance(module, torch.nn.Embedding):
                tensor.copy_(0.6 / (1.0 if "position" in name else width) * noise)
            elif isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                tensor.copy_(1.2 / tensor[0].numel() ** 0.5 * noise)
            elif type(module).__name__ == "Conv1D":
                tensor.copy_(1.2 / tensor.shape[0] ** 0.5 * noise)
            else:  # tables that are bare parameters: positions, class token
                tensor.copy_(0.6 * noise)
    return model.eval()


def untie_t5(model):
    """What T5 1.1 is: a head of its own and no scale before it. transformers 5.24 has no configuration that makes one;
    it loads one from a file that holds lm_head.weight."""
    model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    model.config.scale_decoder_outputs = False
    return model


def is_untied_t5(model):
    return type(model).__name__ == "T5ForConditionalGeneration" and model.lm_head.weight is not model.shared.weight


def float64_copy(model):
    """The same model in float64, its constants (rotary frequencies) computed in float64 too."""
    config = type(model.config).from_dict(model.config.to_dict())
    if getattr(config, "reorder_and_upcast_attn", False):
        config.reorder_and_upcast_attn = False  # the same function; the branch insists on float32
    config._attn_implementation = "eager"  # the one that returns weights
    torch.set_default_dtype(torch.float64)
    try:
        with Float64():
            copy = type(model)(config)
    finally:
        torch.set_default_dtype(torch.float32)
    if is_untied_t5(model):
        untie_t5(copy)
    copy.load_state_dict(model.state_dict())
    return copy.double().eval()


def padded(rows, pad):
    """Lists of ids as [B, T] filled up on the right, and the mask of what is real."""
    longest = max(map(len, rows))
    ids = torch.tensor([list(row) + [pad] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def packed(values, lengths):
    """[B, T, …] → [N, …]: the real rows alone, one sequence after the other."""
    return torch.cat([values[b, :n] for b, n in enumerate(lengths)])


def pad_id(config):
    return config.pad_token_id if getattr(config, "pad_token_id", None) is not None else 0


def run(model, rows, types=None, decoder_rows=None, pixels=None, interpolate=False):
    """One batch through a transformers model. Returns a dict of tensors named as in the golden files."""
    double = next(model.parameters()).dtype == torch.float64
    with torch.no_grad(), Float64() if double else torch.no_grad():
        if pixels is not None:
            return _vision(model, pixels, interpolate)
        ids, mask = padded(rows, pad_id(model.config))
        inputs = dict(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        if model.config._attn_implementation == "eager":
            inputs["output_attentions"] = True
        if types is not None:
            inputs["token_type_ids"] = padded(types, 0)[0]
        if decoder_rows is None:
            return _flat(model(**inputs), [len(row) for row in rows])
        inputs["decoder_input_ids"], inputs["decoder_attention_mask"] = padded(decoder_rows, pad_id(model.config))
        return _pair(model(**inputs), [len(row) for row in rows], [len(row) for row in decoder_rows])


def _states(name, states, lengths):
    return {f"{name}.{i}": packed(state, lengths) for i, state in enumerate(states)}


def _weights(name, weights, lengths, key_lengths=None):
    """Of the last layer, the first sequence: [H, T, S]."""
    if not weights or weights[-1] is None:
        return {}
    return {name: weights[-1][0, :, : lengths[0], : (key_lengths or lengths)[0]]}


def _flat(out, lengths):
    results = _states("hidden", out.hidden_states, lengths)
    results |= _weights("attention", out.get("attentions"), lengths)
    if "logits" in out:
        per_token = out.logits.dim() == 3
        results["logits"] = packed(out.logits, lengths) if per_token else out.logits
    if "start_logits" in out:
        results["logits"] = packed(torch.stack([out.start_logits, out.end_logits], -1), lengths)
    if out.get("pooler_output") is not None:
        results["pooled"] = out.pooler_output
    return results


def _pair(out, lengths, decoder_lengths):
    results = _states("hidden", out.encoder_hidden_states, lengths)
    results |= _states("decoder.hidden", out.decoder_hidden_states, decoder_lengths)
    results |= _weights("attention", out.get("encoder_attentions"), lengths)
    results |= _weights("decoder.attention", out.get("decoder_attentions"), decoder_lengths)
    results |= _weights("cross.attention", out.get("cross_attentions"), decoder_lengths, lengths)
    logits = out.logits
    results["logits"] = packed(logits, decoder_lengths) if logits.dim() == 3 else logits
    return results


def _vision(model, pixels, interpolate):
    extra = dict(output_attentions=True) if model.config._attn_implementation == "eager" else {}
    out = model(pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=interpolate, **extra)
    lengths = [out.hidden_states[0].shape[1]] * len(pixels)
    return _flat(out, lengths)


def next_logits(model, prompt, written, step_by_step=False):
    """The logits for what follows the prompt and each of the written ids but the last: [len(written), V]. Of an
    encoder–decoder the prompt goes to the encoder. `step_by_step` feeds single tokens and keeps the cache."""
    double = next(model.parameters()).dtype == torch.float64
    with torch.no_grad(), Float64() if double else torch.no_grad():
        known = dict(input_ids=torch.tensor([prompt]))
        if model.config.is_encoder_decoder:
            known = dict(encoder_outputs=model.get_encoder()(**known))
            fed, first, name = [model.config.decoder_start_token_id, *written[:-1]], 0, "decoder_input_ids"
        else:
            fed, first, name = [*prompt, *written[:-1]], len(prompt) - 1, "input_ids"
            known = {}
        if not step_by_step:
            return model(**known, **{name: torch.tensor([fed])}).logits[0, first:]
        cache, rows = None, []
        for token in fed:
            out = model(**known, **{name: torch.tensor([[token]])}, cache=cache, use_cache=True)
            cache = out.cache
            rows.append(out.logits[0, -1])
        return torch.stack(rows)[first:]


def greedy(model, prompt, count):
    """`count` ids, each the likeliest after what stands before it; end marks are not minded."""
    written = []
    for _ in range(count):
        written.append(int(next_logits(model, prompt, [*written, 0])[-1].argmax()))
    return written


def margins(logits):
    """By how much the best beats the second best, row by row."""
    best = logits.topk(2, dim=-1).values
    return best[:, 0] - best[:, 1]
