"""models::Transformer in PyTorch: the same function of the same parameters, under the same names. Blocks of
scaled_dot_product_attention with one projection each, as one would tune it; none of nn.Transformer's slow paths."""

import math

import torch
from torch import nn
from torch.nn import functional as F

WANTED = {"norm_kind": "layer", "positions": "sinusoidal", "projection": "combined", "kv_heads": 0}
ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


class Rows(torch.autograd.Function):
    """Rows of a padded array that are no padding: [B·T, C] -> [N, C]. No row twice, so backward is a plain copy."""

    @staticmethod
    def forward(ctx, x, rows):
        ctx.save_for_backward(rows)
        ctx.total = x.size(0)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx, grad):
        (rows,) = ctx.saved_tensors
        return grad.new_zeros(ctx.total, grad.size(1)).index_copy_(0, rows, grad), None


class Padded(torch.autograd.Function):
    """And back: [N, C] -> [B·T, C]."""

    @staticmethod
    def forward(ctx, x, rows, total):
        ctx.save_for_backward(rows)
        return x.new_zeros(total, x.size(1)).index_copy_(0, rows, x)

    @staticmethod
    def backward(ctx, grad):
        (rows,) = ctx.saved_tensors
        return grad.index_select(0, rows), None, None


class Part:
    """One side of a batch: how rows of activations lie in [B, T]. rows is None where activations are padded, too."""

    def __init__(self, batch, length, rows, mask):
        self.batch, self.length, self.rows, self.mask = batch, length, rows, mask

    def flat(self, x):
        """[B, H, T, D] -> [rows, C]."""
        x = x.transpose(1, 2).reshape(self.batch * self.length, -1)
        return x if self.rows is None else Rows.apply(x, self.rows)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.dropout = c["heads"], c["attention_dropout"]
        self.qkv = nn.Linear(c["dim"], 3 * c["dim"])
        self.output = nn.Linear(c["dim"], c["dim"])

    def split(self, x, part, count):
        if part.rows is not None:
            x = Padded.apply(x, part.rows, part.batch * part.length)
        return x.view(part.batch, part.length, count, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x, part, memory=None, memory_part=None, causal=False):
        if memory is None:
            q, k, v = self.split(self.qkv(x), part, 3)
            mask = None if causal else part.mask
        else:
            width = x.size(-1)
            weight, bias = self.qkv.weight, self.qkv.bias
            (q,) = self.split(F.linear(x, weight[:width], bias[:width]), part, 1)
            k, v = self.split(F.linear(memory, weight[width:], bias[width:]), memory_part, 2)
            mask = memory_part.mask
        drop = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop, is_causal=causal)
        return self.output(part.flat(y))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.up, self.down = nn.Linear(c["dim"], c["feed_forward"]), nn.Linear(c["feed_forward"], c["dim"])
        self.activation, self.dropout = ACTIVATIONS[c["activation"]], c["activation_dropout"]

    def forward(self, x):
        return self.down(F.dropout(self.activation(self.up(x)), self.dropout, self.training))


class Layer(nn.Module):
    def __init__(self, c, cross):
        super().__init__()
        self.pre, self.dropout = c["norm"] == "pre", c["dropout"]
        self.self_attention_norm, self.self_attention = nn.LayerNorm(c["dim"]), Attention(c)
        if cross:
            self.cross_attention_norm, self.cross_attention = nn.LayerNorm(c["dim"]), Attention(c)
        self.feed_forward_norm, self.feed_forward = nn.LayerNorm(c["dim"]), FeedForward(c)

    def around(self, norm, x, f):
        if self.pre:
            return x + F.dropout(f(norm(x)), self.dropout, self.training)
        return norm(x + F.dropout(f(x), self.dropout, self.training))

    def forward(self, x, part, causal, memory=None, memory_part=None):
        x = self.around(self.self_attention_norm, x, lambda y: self.self_attention(y, part, causal=causal))
        if memory is not None:
            x = self.around(
                self.cross_attention_norm, x, lambda y: self.cross_attention(y, part, memory, memory_part)
            )
        return self.around(self.feed_forward_norm, x, self.feed_forward)


class Stack(nn.Module):
    def __init__(self, c, count, cross):
        super().__init__()
        self.count = count
        for i in range(count):
            self.add_module(str(i), Layer(c, cross))
        if c["norm"] == "pre":
            self.norm = nn.LayerNorm(c["dim"])

    def forward(self, x, part, causal, memory=None, memory_part=None):
        for i in range(self.count):
            x = getattr(self, str(i))(x, part, causal, memory, memory_part)
        return self.norm(x) if hasattr(self, "norm") else x


def sinusoids(length, width):
    column = torch.arange(width, dtype=torch.float64)
    even = column - column % 2
    angle = torch.arange(length, dtype=torch.float64)[:, None] * torch.pow(10000.0, -even / width)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


class Transformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        c = config["model"]
        for key, wanted in WANTED.items():
            if c[key] != wanted:
                raise ValueError(f"{key} is {c[key]}; the twin knows {wanted}")
        self.width, self.dropout, self.smoothing = c["dim"], c["dropout"], config["training"]["label_smoothing"]
        self.shared, self.tied = c["share_source"], c["tie_embeddings"]
        if self.shared:
            self.embedding = nn.Embedding(config["target_vocab"], self.width)
        else:
            self.source_embedding = nn.Embedding(config["source_vocab"], self.width)
            self.target_embedding = nn.Embedding(config["target_vocab"], self.width)
        self.encoder, self.decoder = Stack(c, c["encoder_layers"], False), Stack(c, c["decoder_layers"], True)
        if not self.tied:
            self.output = nn.Linear(self.width, config["target_vocab"], bias=False)
        self.register_buffer("positions", sinusoids(c["max_length"], self.width), persistent=False)

    def embed(self, table, ids, places):
        x = F.embedding(ids, table) * math.sqrt(self.width) + self.positions[places]
        return F.dropout(x, self.dropout, self.training)

    def forward(self, batch):
        target_table = (self.embedding if self.shared else self.target_embedding).weight
        source_table = target_table if self.shared else self.source_embedding.weight
        source, target = batch.source_part, batch.target_part
        memory = self.encoder(self.embed(source_table, batch.source, batch.source_places), source, False)
        hidden = self.decoder(
            self.embed(target_table, batch.target_in, batch.target_places), target, True, memory, source
        )
        logits = F.linear(hidden, target_table if self.tied else self.output.weight)
        return F.cross_entropy(logits.float(), batch.target_out, ignore_index=-100, label_smoothing=self.smoothing)
