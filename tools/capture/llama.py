# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""A llama-architecture GGUF model, run in float32 numpy."""

import math
from dataclasses import dataclass

import numpy as np

from errors import CaptureError

ROW_CHUNK = 256
LOGIT_CHUNK = 64


@dataclass
class Config:
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    theta: float
    epsilon: float


class Model:
    """A llama GGUF whose tensors are dequantised one at a time, on demand."""

    def __init__(self, path):
        import gguf

        self._dequantize = gguf.quants.dequantize
        reader = gguf.GGUFReader(str(path))
        self._fields = reader.fields
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}

        architecture = self.field("general.architecture")
        if architecture != "llama":
            raise CaptureError(f"architecture {architecture!r} is not llama")
        heads = self.field("llama.attention.head_count")
        width = self.field("llama.embedding_length")
        head_dim = self.field("llama.attention.key_length", width // heads)
        self.config = Config(
            layers=self.field("llama.block_count"),
            width=width,
            heads=heads,
            kv_heads=self.field("llama.attention.head_count_kv", heads),
            head_dim=head_dim,
            theta=float(self.field("llama.rope.freq_base", 10000.0)),
            epsilon=self.field("llama.attention.layer_norm_rms_epsilon"),
        )
        # Scaled or partial RoPE would need other angles; guessing would write
        # wrong tensors under a right-looking header.
        if self.field("llama.rope.dimension_count", head_dim) != head_dim:
            raise CaptureError("partial RoPE is not supported")
        if self.field("llama.rope.scaling.type", "none") != "none" \
                or "rope_freqs.weight" in self._tensors:
            raise CaptureError("scaled RoPE is not supported")
        self.context = self.field("llama.context_length")

    def field(self, name, *default):
        if name in self._fields:
            return self._fields[name].contents()
        if default:
            return default[0]
        raise CaptureError(f"the model file has no field {name}")

    def tensor(self, name):
        """A tensor in float32; a matrix is [outputs, inputs]."""
        if name not in self._tensors:
            raise CaptureError(f"the model file has no tensor {name}")
        stored = self._tensors[name]
        values = self._dequantize(stored.data, stored.tensor_type)
        return np.asarray(values, dtype=np.float32)

    def output_matrix(self, embedding):
        """The output projection; tied to the embedding where none is stored."""
        if "output.weight" in self._tensors:
            return self.tensor("output.weight")
        return embedding

    def tokenizer(self):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        kind = (self.field("tokenizer.ggml.model"),
                self.field("tokenizer.ggml.pre", ""))
        if kind != ("gpt2", "smollm"):
            raise CaptureError(f"tokenizer {kind} is not supported")
        tokens = self.field("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" "))
                  for merge in self.field("tokenizer.ggml.merges")]
        vocabulary = {token: index for index, token in enumerate(tokens)}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        # The smollm pre-tokenizer is the GPT-2 split with every digit alone.
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ])
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    def encode(self, text):
        tokenizer = self.tokenizer()
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if tokenizer.decode(ids, skip_special_tokens=False) != text:
            raise CaptureError("the tokens do not decode to the text")
        if self.field("tokenizer.ggml.add_bos_token", False):
            ids = [self.field("tokenizer.ggml.bos_token_id")] + ids
        return ids


def rms_norm(x, weight, epsilon):
    mean = np.mean(np.square(x), axis=-1, keepdims=True, dtype=np.float32)
    return x / np.sqrt(mean + np.float32(epsilon)) * weight


def silu(x):
    # exp overflows to infinity for very negative x, where the quotient is the
    # right limit, -0.
    with np.errstate(over="ignore"):
        return x / (np.float32(1) + np.exp(-x))


def rope_tables(tokens, head_dim, theta):
    """cos and sin, [tokens, head_dim / 2]; angles are formed in float64."""
    frequency = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64)
                          / head_dim)
    angle = np.arange(tokens, dtype=np.float64)[:, None] * frequency
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def rope(x, cos, sin):
    """Rotate x [tokens, heads, head_dim] by position.

    A llama GGUF stores the rows of the query and key matrices so that pair i
    is elements 2i and 2i + 1.
    """
    cos, sin = cos[:, None, :], sin[:, None, :]
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = np.empty_like(x)
    rotated[..., 0::2] = even * cos - odd * sin
    rotated[..., 1::2] = even * sin + odd * cos
    return rotated


def attention(query, key, value, scale):
    """Causal attention, [tokens, heads, head_dim] in and out.

    Query head h reads key and value head h // (heads / kv_heads). Computes in
    the type of its inputs; query rows go in chunks to bound the scores' size.
    """
    tokens, heads, _ = query.shape
    group = heads // key.shape[1]
    output = np.empty((tokens, heads, value.shape[2]), dtype=query.dtype)
    for head in range(heads):
        k = key[:, head // group]
        v = value[:, head // group]
        for start in range(0, tokens, ROW_CHUNK):
            stop = min(start + ROW_CHUNK, tokens)
            scores = query[start:stop, head] @ k[:stop].T
            scores *= query.dtype.type(scale)
            row = np.arange(start, stop)[:, None]
            scores[np.arange(stop)[None, :] > row] = -np.inf
            scores -= scores.max(axis=1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=1, keepdims=True)
            output[start:stop, head] = scores @ v[:stop]
    return output


def softmax_scale(head_dim):
    return 1.0 / math.sqrt(head_dim)


def forward(model, ids, wanted, log):
    """Run the model. Returns captured tensors by layer, and perplexity."""
    c = model.config
    tokens = len(ids)
    scale = softmax_scale(c.head_dim)
    cos, sin = rope_tables(tokens, c.head_dim, c.theta)
    embedding = model.tensor("token_embd.weight")
    x = embedding[ids]
    captured = {}
    for layer in range(c.layers):
        def weight(name):
            return model.tensor(f"blk.{layer}.{name}.weight")

        h = rms_norm(x, weight("attn_norm"), c.epsilon)
        query = (h @ weight("attn_q").T).reshape(tokens, c.heads, c.head_dim)
        key = (h @ weight("attn_k").T).reshape(tokens, c.kv_heads, c.head_dim)
        value = (h @ weight("attn_v").T).reshape(tokens, c.kv_heads,
                                                 c.head_dim)
        query, key = rope(query, cos, sin), rope(key, cos, sin)
        mixed = attention(query, key, value, scale)
        if layer in wanted:
            captured[layer] = {"query": query, "key": key, "value": value,
                               "output": mixed}
        x = x + mixed.reshape(tokens, -1) @ weight("attn_output").T

        h = rms_norm(x, weight("ffn_norm"), c.epsilon)
        h = silu(h @ weight("ffn_gate").T) * (h @ weight("ffn_up").T)
        x = x + h @ weight("ffn_down").T
        log(f"layer {layer + 1} of {c.layers}")

    x = rms_norm(x, model.tensor("output_norm.weight"), c.epsilon)
    matrix = model.output_matrix(embedding)
    loss = 0.0
    for start in range(0, tokens - 1, LOGIT_CHUNK):
        stop = min(start + LOGIT_CHUNK, tokens - 1)
        logits = (x[start:stop] @ matrix.T).astype(np.float64)
        top = logits.max(axis=1)
        normaliser = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        target = logits[np.arange(stop - start), ids[start + 1:stop + 1]]
        loss += float((normaliser - target).sum())
    return captured, math.exp(loss / (tokens - 1))
