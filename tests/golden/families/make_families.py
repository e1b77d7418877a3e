"""Makes the golden folders beside this file: tiny models as Hugging Face saves them, and what transformers computes.

    HF_HUB_OFFLINE=1 python tests/golden/families/make_families.py [NAME…]     all but Transformer-XL
    python tests/golden/families/make_transformer_xl.py                         Transformer-XL

Pinned: transformers 5.24.0, torch 2.15.0 (CPU), safetensors 0.8.0; another version may write other fields into
config.json, and torch may draw other numbers. A folder holds config.json and model.safetensors (or shards with an
index), generation_config.json where transformers writes one, and

    expected.json         what was run: class, seed, lengths of the rows
    expected.safetensors  what came out: computed in float64, stored in float32. README.md lists the names.

The rows are run as one padded batch with a mask; that each alone gives the same is checked here to 1e-10.
"""

import json
import os
import pathlib
import shutil
import sys

import safetensors.torch
import torch
import transformers as hf

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "peers"))
import reference  # noqa: E402

PINNED = {"transformers": "5.24.0", "torch": "2.15.0"}
ROWS = [[5, 17, 29, 8, 30, 21, 9, 23, 12], [26, 7, 19, 14, 3]]
TYPES = [[0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
DECODER_ROWS = [[0, 6, 31, 22], [0, 19, 8, 25, 27, 11]]
WRITTEN = 20

CORE = dict(vocab_size=32, hidden_size=12, num_hidden_layers=2, num_attention_heads=4, intermediate_size=20)
ENCODER = dict(CORE, max_position_embeddings=16)
DISTIL = dict(vocab_size=32, dim=12, n_layers=2, n_heads=4, hidden_dim=20, max_position_embeddings=16)
HEADED = dict(ENCODER, num_hidden_layers=1, num_labels=3)
DISTIL_HEADED = dict(DISTIL, n_layers=1, num_labels=3)
ALBERT = dict(ENCODER, embedding_size=10)
MODERN = dict(
    ENCODER, num_attention_heads=2, pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2
)
GPT2 = dict(vocab_size=32, n_embd=12, n_layer=2, n_head=4, n_positions=28, n_inner=20, bos_token_id=1, eos_token_id=2)
LLAMA = dict(CORE, hidden_size=16, num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2)
WIDE = dict(LLAMA, head_dim=6)  # more rotary frequencies, and heads wider than the model
GEMMA = dict(WIDE, query_pre_attn_scalar=12, sliding_window=4, pad_token_id=0, bos_token_id=2, eos_token_id=1)
T5 = dict(vocab_size=32, d_model=12, d_kv=6, d_ff=20, num_layers=2, num_heads=4, relative_attention_num_buckets=8)
T5 |= dict(relative_attention_max_distance=16, decoder_start_token_id=0)
PAIR = dict(vocab_size=32, d_model=12, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4)
PAIR |= dict(decoder_attention_heads=2, encoder_ffn_dim=20, decoder_ffn_dim=24, max_position_embeddings=28)
PAIR |= dict(forced_eos_token_id=None)
MARIAN = dict(PAIR, pad_token_id=0, decoder_start_token_id=0, eos_token_id=2, scale_embedding=True)
MARIAN |= dict(activation_function="swish")
VIT = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=4, intermediate_size=20, image_size=12)
VIT |= dict(patch_size=4)
ROPE = dict(rope_theta=10000.0, original_max_position_embeddings=16)


def rope(kind, **fields):
    return dict(rope_parameters=dict(ROPE, rope_type=kind, **fields))


# name: (class, configuration, its fields)
MODELS = {
    "bert": ("BertModel", "BertConfig", ENCODER),
    "bert-masked": ("BertForMaskedLM", "BertConfig", ENCODER),
    "bert-masked-untied": (
        "BertForMaskedLM",
        "BertConfig",
        dict(ENCODER, num_hidden_layers=1, tie_word_embeddings=False),
    ),
    "bert-sequence": ("BertForSequenceClassification", "BertConfig", dict(HEADED, hidden_act="relu")),
    "bert-tokens": ("BertForTokenClassification", "BertConfig", dict(HEADED, hidden_act="gelu_new")),
    "bert-span": ("BertForQuestionAnswering", "BertConfig", dict(ENCODER, num_hidden_layers=1)),
    "roberta-masked": ("RobertaForMaskedLM", "RobertaConfig", dict(ENCODER, layer_norm_eps=1e-5, type_vocab_size=1)),
    "roberta-sequence": ("RobertaForSequenceClassification", "RobertaConfig", HEADED),
    "xlm-roberta": ("XLMRobertaModel", "XLMRobertaConfig", dict(ENCODER, layer_norm_eps=1e-5, type_vocab_size=1)),
    "distilbert-masked": ("DistilBertForMaskedLM", "DistilBertConfig", DISTIL),
    "distilbert-sequence": ("DistilBertForSequenceClassification", "DistilBertConfig", DISTIL_HEADED),
    "albert-masked": ("AlbertForMaskedLM", "AlbertConfig", dict(ALBERT, num_hidden_layers=4, num_hidden_groups=2)),
    "albert-sequence": ("AlbertForSequenceClassification", "AlbertConfig", dict(ALBERT, num_labels=3)),
    "modernbert-masked": (
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        dict(MODERN, num_hidden_layers=3, local_attention=4),
    ),
    "modernbert-sequence": (
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        dict(
            MODERN,
            local_attention=6,
            classifier_pooling="mean",
            num_labels=3,
            norm_bias=True,
            attention_bias=True,
            mlp_bias=True,
            classifier_bias=True,
        ),
    ),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "gpt2-scaled": (
        "GPT2LMHeadModel",
        "GPT2Config",
        dict(GPT2, n_inner=None, scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False),
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "llama-llama3": (
        "LlamaForCausalLM",
        "LlamaConfig",
        dict(
            WIDE,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
            **rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0),
        ),
    ),
    "llama-linear": (
        "LlamaForCausalLM",
        "LlamaConfig",
        dict(WIDE, num_hidden_layers=1, rope_parameters=dict(rope_type="linear", factor=2.5, rope_theta=5000.0)),
    ),
    "llama-yarn": (
        "LlamaForCausalLM",
        "LlamaConfig",
        dict(WIDE, num_hidden_layers=1, **rope("yarn", factor=4.0, beta_fast=4.0, beta_slow=0.5)),
    ),
    "llama-shards": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "llama-sequence": (
        "LlamaForSequenceClassification",
        "LlamaConfig",
        dict(LLAMA, num_hidden_layers=1, pad_token_id=0, num_labels=3),
    ),
    "mistral": ("MistralForCausalLM", "MistralConfig", dict(LLAMA, sliding_window=4)),
    "qwen2": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        dict(LLAMA, use_sliding_window=True, sliding_window=4, max_window_layers=1, tie_word_embeddings=True),
    ),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", WIDE),
    "gemma2": (
        "Gemma2ForCausalLM",
        "Gemma2Config",
        dict(GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
    ),
    "gemma2-sequence": (
        "Gemma2ForSequenceClassification",
        "Gemma2Config",
        dict(GEMMA, num_hidden_layers=1, hidden_activation="relu2", final_logit_softcapping=0.5, num_labels=3),
    ),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", dict(GEMMA, sliding_window_pattern=2)),
    "gemma3-both-ways": (
        "Gemma3TextModel",
        "Gemma3TextConfig",
        dict(GEMMA, sliding_window_pattern=2, use_bidirectional_attention=True),
    ),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", dict(LLAMA, pad_token_id=0)),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "t5-gated": (
        "T5ForConditionalGeneration",
        "T5Config",
        dict(T5, feed_forward_proj="gated-gelu", num_decoder_layers=1),
    ),
    "olmo": ("OlmoForCausalLM", "OlmoConfig", dict(LLAMA, num_hidden_layers=1, pad_token_id=0, clip_qkv=1.0)),
    "t5-encoder": ("T5EncoderModel", "T5Config", T5),
    "bart": ("BartForConditionalGeneration", "BartConfig", PAIR),
    "marian": ("MarianMTModel", "MarianConfig", MARIAN),
    "marian-separate": (
        "MarianMTModel",
        "MarianConfig",
        dict(MARIAN, encoder_layers=2, decoder_layers=1, share_encoder_decoder_embeddings=False, decoder_vocab_size=36),
    ),
    "vit": ("ViTModel", "ViTConfig", VIT),
    "vit-pooler": (
        "ViTModel",
        "ViTConfig",
        dict(VIT, num_hidden_layers=1, hidden_act="quick_gelu", pooler_output_size=7, pooler_act="relu"),
    ),
    "vit-classes": ("ViTForImageClassification", "ViTConfig", dict(VIT, num_labels=3, qkv_bias=False)),
}


SILENT = {"gpt2-scaled", "llama-linear", "llama-yarn", "llama-shards", "olmo"}  # their text would say nothing new


def is_generator(name, model):
    return model.can_generate() and not isinstance(model, hf.BertPreTrainedModel) and name not in SILENT


def make_model(name, seed):
    class_name, config_name, fields = MODELS[name]
    model = getattr(hf, class_name)(getattr(hf, config_name)(**fields))
    if name == "t5-gated":
        reference.untie_t5(model)
    model = reference.randomize(model, seed)
    if name == "llama-shards":
        model = model.to(torch.bfloat16)
    return model


def expect(name, double):
    """Everything to compare with, by name, and the greedy text if the model writes."""
    if double.config.model_type == "vit":
        pixels = {"pixels": torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(7))}
        pixels["wide.pixels"] = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(8))
        wide = reference.run(double, None, pixels=pixels["wide.pixels"].double(), interpolate=True)
        results = reference.run(double, None, pixels=pixels["pixels"].double())
        if name != "vit":
            return results | {"pixels": pixels["pixels"]}
        return results | {"wide." + k: v for k, v in wide.items() if k in ("hidden.0", "hidden.2", "logits")} | pixels
    inputs = dict(rows=ROWS)
    if double.config.is_encoder_decoder:
        inputs["decoder_rows"] = DECODER_ROWS
    if getattr(double.config, "type_vocab_size", 1) > 1:
        inputs["types"] = TYPES
    results = reference.run(double, **inputs)
    check_alone(double, inputs, results)
    if is_generator(name, double):
        results |= write(double)
    return results | {k.replace("rows", "ids"): torch.tensor(sum(v, [])) for k, v in inputs.items()}


def check_alone(double, inputs, results):
    for b in range(len(ROWS)):
        alone = reference.run(double, **{k: [v[b]] for k, v in inputs.items()})
        for key, value in alone.items():
            if "attention" in key:
                continue
            rows = DECODER_ROWS if key.startswith("decoder") or key == "logits" and "decoder_rows" in inputs else ROWS
            first = b if len(value) == 1 and len(results[key]) == 2 else sum(map(len, rows[:b]))
            error = (results[key][first : first + len(value)] - value).abs().max()
            assert error < 1e-10, (key, b, float(error))


def write(double):
    prompt = ROWS[1]
    written = reference.greedy(double, prompt, WRITTEN)
    logits = reference.next_logits(double, prompt, written)
    steps = reference.next_logits(double, prompt, written, step_by_step=True)
    assert (logits - steps).abs().max() < 1e-10, "the cache changes the logits"
    return {"written": torch.tensor(written), "written.logits": steps, "written.margins": reference.margins(steps)}


def marks(config):
    eos = config.eos_token_id
    return {*(eos if isinstance(eos, list) else [eos]), getattr(config, "pad_token_id", None)}


def is_good(results, config):
    """A greedy text without near ties and without an end mark, and not the same id over and over."""
    if "written" not in results:
        return True
    ids = results["written"].tolist()
    return (
        results["written.margins"].min() > 2e-3
        and len(set(ids)) > (3 if config.is_encoder_decoder else 5)
        and not marks(config) & set(ids)
    )


def make(name):
    for seed in range(1, 1000):
        model = make_model(name, seed)
        double = reference.float64_copy(model)
        results = expect(name, double)
        if is_good(results, double.config):
            break
    else:
        raise SystemExit(f"{name}: no seed gives a greedy text without ties")
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, max_shard_size="6KB" if name == "llama-shards" else "1GB")
    compact = {k: v.contiguous().float() if v.is_floating_point() else v.int() for k, v in results.items()}
    safetensors.torch.save_file(compact, folder / "expected.safetensors")
    about = dict(class_name=type(model).__name__, seed=seed, versions=PINNED)
    if "ids" in results:
        about["lengths"] = [len(row) for row in ROWS]
    if "decoder_ids" in results:
        about["decoder_lengths"] = [len(row) for row in DECODER_ROWS]
    if "written" in results:
        about["prompt"] = ROWS[1]
    (folder / "expected.json").write_text(json.dumps(about, indent=2) + "\n")
    reloaded = type(model).from_pretrained(folder, dtype="auto")
    for key, value in model.state_dict().items():
        assert torch.equal(reloaded.state_dict()[key], value), f"{name}: {key} does not come back from the folder"
    print(f"{name:20} seed {seed:3}  {sum(f.stat().st_size for f in folder.iterdir()):7} bytes", flush=True)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    found = {"transformers": hf.__version__, "torch": torch.__version__.split("+")[0]}
    assert found == PINNED, f"{found}, pinned are {PINNED}"
    torch.set_num_threads(1)
    for chosen in sys.argv[1:] or MODELS:
        make(chosen)
