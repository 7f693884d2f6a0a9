#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Writes reference.safetensors: layers of PyTorch and Hugging Face transformers
with small weights, their inputs and what they give (in double, stored as f32),
and their tables of positions.

    pip install torch==2.15.0 transformers==5.24.0 safetensors
    python3 make_reference.py
"""
import pathlib

import torch
from safetensors.torch import save_file
from transformers import GPTJConfig, LlamaConfig, T5Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.gptj.modeling_gptj import (GPTJAttention,
                                                    GPTJRotaryEmbedding)
from transformers.models.llama.modeling_llama import (LlamaAttention,
                                                      LlamaRotaryEmbedding)
from transformers.models.t5.modeling_t5 import T5Attention

tensors = {}


def put(name, tensor):
    tensors[name] = tensor.detach().to(torch.float32).contiguous().clone()


def inputs(*shape):
    # Numbers that f32 holds, so that both sides start from the same ones.
    return torch.randn(*shape).to(torch.float64)


def settle(module, scale=0.3):
    """Weights that f32 holds, as double."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * scale)
    return module.double().eval()


def causal(n):
    return torch.full((n, n), float("-inf"), dtype=torch.float64).triu(1)


def multihead():
    layer = settle(torch.nn.MultiheadAttention(24, 3, batch_first=True))
    x = inputs(2, 7, 24)
    put("mha.x", x)
    for name in ("in_proj_weight", "in_proj_bias"):
        put(f"mha.{name}", getattr(layer, name))
    put("mha.out_weight", layer.out_proj.weight)
    put("mha.out_bias", layer.out_proj.bias)
    put("mha.out", layer(x, x, x, need_weights=False)[0])
    put("mha.causal_out",
        layer(x, x, x, need_weights=False, attn_mask=causal(7))[0])

    layer = settle(torch.nn.MultiheadAttention(
        24, 4, bias=False, kdim=20, vdim=28, batch_first=True))
    query, key, value = inputs(2, 5, 24), inputs(2, 9, 20), inputs(2, 9, 28)
    for name in ("query", "key", "value"):
        put(f"cross.{name}", locals()[name])
    for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        put(f"cross.{name}", getattr(layer, name))
    put("cross.out_weight", layer.out_proj.weight)
    put("cross.out", layer(query, key, value, need_weights=False)[0])


LLAMA = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "llama3": {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0,
               "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64},
    "yarn": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0,
             "beta_fast": 4.0, "beta_slow": 1.0,
             "original_max_position_embeddings": 32},
}


def llama():
    layer = x = None
    for name, parameters in LLAMA.items():
        config = LlamaConfig(
            hidden_size=32, num_attention_heads=4, num_key_value_heads=2,
            head_dim=8, max_position_embeddings=128,
            rope_parameters=parameters, attn_implementation="eager")
        if layer is None:
            layer = settle(LlamaAttention(config, layer_idx=0))
            x = inputs(1, 12, 32)
            put("llama.x", x)
            for projection in "qkvo":
                put(f"llama.{projection}",
                    getattr(layer, f"{projection}_proj").weight)
        cos, sin = LlamaRotaryEmbedding(config)(x, torch.arange(12)[None])
        put(f"llama.out.{name}",
            layer(x, position_embeddings=(cos.double(), sin.double()),
                  attention_mask=causal(12)[None, None])[0])


def gptj():
    config = GPTJConfig(n_embd=16, n_head=2, rotary_dim=4, n_positions=64,
                        attn_pdrop=0.0, resid_pdrop=0.0,
                        attn_implementation="eager")
    layer = settle(GPTJAttention(config, layer_idx=0))
    x = inputs(1, 10, 16)
    put("gptj.x", x)
    for projection in ("q", "k", "v", "out"):
        put(f"gptj.{projection}".replace("out", "out_weight"),
            getattr(layer, f"{projection}_proj").weight)
    # It multiplies in f32, whatever the inputs.
    layer, x = layer.float(), x.float()
    put("gptj.out", layer(
        x, GPTJRotaryEmbedding(config)(x, torch.arange(10)[None]),
        attention_mask=causal(10)[None, None].float())[0])


def t5():
    config = T5Config(d_model=24, num_heads=3, d_kv=8, dropout_rate=0.0,
                      relative_attention_num_buckets=8,
                      relative_attention_max_distance=20, is_decoder=False)
    layer = settle(T5Attention(config, has_relative_attention_bias=True,
                               layer_idx=0))
    x = inputs(1, 30, 24)
    put("t5.x", x)
    for projection in "qkvo":
        put(f"t5.{projection}", getattr(layer, projection).weight)
    put("t5.bias", layer.relative_attention_bias.weight)
    mask = torch.zeros(1, 1, 30, 30, dtype=torch.float64)
    put("t5.out", layer(x, mask=mask)[0])
    distance = torch.arange(-150, 151)
    for sides in (False, True):
        put(f"t5.buckets{int(sides)}", T5Attention._relative_position_bucket(
            distance, bidirectional=sides, num_buckets=32, max_distance=128))


def slopes():
    for heads in (1, 6, 8, 12, 20):
        bias = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)
        put(f"alibi.{heads}", bias[:, 0, 1])


ROPE = {
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    "yarn": {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0,
             "original_max_position_embeddings": 32768},
    "gpt_oss": {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0,
                "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                "original_max_position_embeddings": 4096},
    "llama3": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
               "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192},
}


def rope():
    for name, parameters in ROPE.items():
        config = LlamaConfig(hidden_size=512, num_attention_heads=4,
                             head_dim=128, max_position_embeddings=2048,
                             rope_parameters=parameters)
        kind = parameters["rope_type"]
        frequency, factor = ROPE_INIT_FUNCTIONS[kind](
            config, "cpu", seq_len=5000 if kind == "dynamic" else None)
        put(f"rope.{name}", frequency)
        put(f"rope.{name}.factor", torch.tensor([factor]))


torch.manual_seed(0)
multihead()
llama()
gptj()
t5()
slopes()
rope()
save_file(tensors, pathlib.Path(__file__).parent / "reference.safetensors")
