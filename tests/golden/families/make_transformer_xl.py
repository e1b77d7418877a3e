"""Makes the golden folders of Transformer-XL (Dai et al. 2019), which transformers 5 no longer has.

    python tests/golden/families/make_transformer_xl.py

Pinned: pytorch-transformers 1.2.0, torch 2.15.0 (CPU), safetensors 0.8.0. config.json is what that version writes, with
the model_type and architectures that the published configuration carries; the weights stand in a safetensors file
under their names in its pickle, those that share an embedding's memory left out.

expected.safetensors: two segments of two rows, the second with the memory of the first; then a text written id by id
after a prompt, each step with the memory of the step before. Computed in float64, stored in float32.
"""

import json
import pathlib
import shutil
import sys

import pytorch_transformers as old
import safetensors.torch
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "peers"))
import reference  # noqa: E402

PINNED = {"pytorch-transformers": "1.2.0", "torch": "2.15.0"}
SEGMENTS = [[[5, 17, 29, 8, 30, 21], [26, 7, 19, 14, 3, 11]], [[9, 23, 12, 4, 28, 0], [1, 16, 27, 10, 20, 31]]]
PROMPT = [5, 17, 29, 8, 30]
WRITTEN = 20
CORE = dict(vocab_size_or_config_json_file=32, d_model=12, d_embed=12, n_head=2, d_head=4, d_inner=20, n_layer=2)
CORE |= dict(tgt_len=6, ext_len=0, mem_len=4, dropout=0.0, dropatt=0.0)
MODELS = {
    "transfo-xl": dict(CORE, cutoffs=[10, 20], div_val=2, clamp_len=5, same_length=True),
    "transfo-xl-plain": dict(
        CORE, cutoffs=[], div_val=1, clamp_len=-1, same_length=False, untie_r=False, pre_lnorm=True, mem_len=8
    ),
    "transfo-xl-one-table": dict(CORE, cutoffs=[10, 20], div_val=1, d_embed=8, n_layer=1, same_length=False),
}


def float64_copy(model, config):
    torch.set_default_dtype(torch.float64)
    try:
        with reference.Float64():
            copy = type(model)(config)
    finally:
        torch.set_default_dtype(torch.float32)
    inverse = copy.transformer.pos_emb.inv_freq.clone()
    copy.load_state_dict(model.state_dict())
    copy.double().eval().transformer.pos_emb.inv_freq.copy_(inverse)
    return copy


def segment(model, ids, memory):
    with torch.no_grad(), reference.Float64():
        return model(torch.tensor(ids), mems=memory)


def expect(model):
    results, memory = {}, None
    for number, ids in enumerate(SEGMENTS):
        log_probabilities, memory, states, weights = segment(model, ids, memory)
        name = f"segment.{number}"
        results |= {f"{name}.ids": torch.tensor(ids), f"{name}.log_probabilities": log_probabilities}
        results |= {f"{name}.hidden.{i}": state for i, state in enumerate(states)}
        results[f"{name}.attention"] = weights[-1][0]
    results |= {f"memory.{i}": rows.transpose(0, 1) for i, rows in enumerate(memory)}
    return results | write(model, PROMPT, WRITTEN)


def write(model, prompt, count):
    """Greedy ids, each step with the memory of the step before; of a model without one each step reads everything."""
    written, rows, memory, fed = [], [], None, prompt
    for _ in range(count):
        log_probabilities, memory = segment(model, [fed], memory)[:2]
        rows.append(log_probabilities[0, -1])
        written.append(int(rows[-1].argmax()))
        fed = written[-1:] if memory is not None else [*prompt, *written]
    rows = torch.stack(rows)
    ids = torch.tensor(written)
    return {"written": ids, "written.log_probabilities": rows, "written.margins": reference.margins(rows)}


def make_model(fields, seed):
    """The model and, to compute with, the same in float64."""
    config = old.TransfoXLConfig(**fields)
    config.output_hidden_states = config.output_attentions = True
    model = reference.randomize(old.TransfoXLLMHeadModel(config), seed)
    return model, float64_copy(model, config)


def unshared(state):
    """Of tensors in the same memory, the first."""
    seen = set()
    return {n: t.clone() for n, t in state.items() if not (t.data_ptr() in seen or seen.add(t.data_ptr()))}


def save(model, results, folder, **about):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = model.config
    config.output_hidden_states = config.output_attentions = False
    fields = dict(json.loads(config.to_json_string()), model_type="transfo-xl", architectures=[type(model).__name__])
    (folder / "config.json").write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
    safetensors.torch.save_file(unshared(model.state_dict()), folder / "model.safetensors", metadata={"format": "pt"})
    compact = {k: v.contiguous().float() if v.is_floating_point() else v.int() for k, v in results.items()}
    safetensors.torch.save_file(compact, folder / "expected.safetensors")
    about = dict(class_name=type(model).__name__, versions=PINNED, **about)
    (folder / "expected.json").write_text(json.dumps(about, indent=2) + "\n")


def make(name):
    for seed in range(1, 400):
        model, double = make_model(MODELS[name], seed)
        results = expect(double)
        if results["written.margins"].min() > 2e-3 and len(set(results["written"].tolist())) > 5:
            break
    else:
        raise SystemExit(f"{name}: no seed gives a greedy text without ties")
    save(model, results, HERE / name, seed=seed, prompt=PROMPT)
    print(f"{name:20} seed {seed:3}  {sum(f.stat().st_size for f in (HERE / name).iterdir()):7} bytes")


if __name__ == "__main__":
    assert old.__version__ == PINNED["pytorch-transformers"] and torch.__version__.startswith(PINNED["torch"])
    torch.set_num_threads(1)
    for chosen in sys.argv[1:] or MODELS:
        make(chosen)
