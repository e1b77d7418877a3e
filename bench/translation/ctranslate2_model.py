"""Our weights as a CTranslate2 model, through its specification classes."""

import numpy
from ctranslate2.specs import common_spec, transformer_spec
from safetensors.numpy import load_file

WANTED = {
    "norm_kind": "layer",
    "positions": "sinusoidal",
    "projection": "combined",
    "kv_heads": 0,
    "tie_embeddings": True,
}
ACTIVATIONS = {"relu": common_spec.Activation.RELU, "gelu": common_spec.Activation.GELU}


def sinusoids(length, width):
    column = numpy.arange(width)
    angle = numpy.arange(length)[:, None] * numpy.power(10000.0, -(column - column % 2) / width)
    return numpy.where(column % 2 == 0, numpy.sin(angle), numpy.cos(angle)).astype(numpy.float32)


class Weights:
    def __init__(self, path):
        self.all = load_file(path)

    def linear(self, spec, name, rows=slice(None)):
        spec.weight, spec.bias = self.all[name + ".weight"][rows], self.all[name + ".bias"][rows]

    def norm(self, spec, name):
        spec.gamma, spec.beta = self.all[name + ".weight"], self.all[name + ".bias"]

    def self_attention(self, spec, name):
        self.norm(spec.layer_norm, name + "_norm")
        self.linear(spec.linear[0], name + ".qkv")
        self.linear(spec.linear[1], name + ".output")

    def cross_attention(self, spec, name, width):
        self.norm(spec.layer_norm, name + "_norm")
        self.linear(spec.linear[0], name + ".qkv", slice(0, width))
        self.linear(spec.linear[1], name + ".qkv", slice(width, None))
        self.linear(spec.linear[2], name + ".output")

    def feed_forward(self, spec, name):
        self.norm(spec.layer_norm, name + "_norm")
        self.linear(spec.linear_0, name + ".up")
        self.linear(spec.linear_1, name + ".down")


def export(config, vocabulary, weights_path, folder):
    c = config["model"]
    for key, wanted in WANTED.items():
        if c[key] != wanted:
            raise ValueError(f"{key} is {c[key]}; the export knows {wanted}")
    pre, width = c["norm"] == "pre", c["dim"]
    spec = transformer_spec.TransformerSpec.from_config(
        (c["encoder_layers"], c["decoder_layers"]),
        c["heads"],
        pre_norm=pre,
        activation=ACTIVATIONS[c["activation"]],
    )
    spec.config.layer_norm_epsilon = 1e-5
    spec.config.add_source_eos = False  # the ids it is given end in one
    spec.config.decoder_start_token = spec.config.bos_token = vocabulary[1]
    spec.config.eos_token, spec.config.unk_token = vocabulary[2], vocabulary[3]
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    weights = Weights(weights_path)
    table = weights.all["embedding.weight" if c["share_source"] else "target_embedding.weight"]
    source = table if c["share_source"] else weights.all["source_embedding.weight"]
    positions = sinusoids(c["max_length"], width)
    for side in (spec.encoder, spec.decoder):
        side.scale_embeddings = True  # by sqrt(C)
        side.position_encodings.encodings = positions
    spec.encoder.embeddings[0].weight = source
    spec.decoder.embeddings.weight = table
    spec.decoder.projection.weight = table
    for i, layer in enumerate(spec.encoder.layer):
        weights.self_attention(layer.self_attention, f"encoder.{i}.self_attention")
        weights.feed_forward(layer.ffn, f"encoder.{i}.feed_forward")
    for i, layer in enumerate(spec.decoder.layer):
        weights.self_attention(layer.self_attention, f"decoder.{i}.self_attention")
        weights.cross_attention(layer.attention, f"decoder.{i}.cross_attention", width)
        weights.feed_forward(layer.ffn, f"decoder.{i}.feed_forward")
    if pre:
        weights.norm(spec.encoder.layer_norm, "encoder.norm")
        weights.norm(spec.decoder.layer_norm, "decoder.norm")
    spec.validate()
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
