#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # One line puts heed, or a variant, under a Hugging Face model
#
# `pip install '.[hf]'`, then this, as a notebook or as a program:
# `python examples/python/one_line.py [FOLDER]`. FOLDER holds a causal language model;
# without it, a small one with random weights shows the same.

# %%
import sys
import time

import torch
import transformers

import heed.hf

arguments = [] if "ipykernel" in sys.modules else sys.argv[1:]
heed.hf.register()
if arguments:
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments[0])
else:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
model.eval()
tokens = torch.randint(3, model.config.vocab_size, (1, 1024))

# %% [markdown]
# Speed before and after, and how far the logits are off. A window of 128 tokens is
# another model: what it costs in accuracy is for `heed-lm-eval` to say.

# %%
before = None
for name in ("sdpa", "heed", "heed/window_sink?window=128"):
    model.set_attn_implementation(name)  # the line
    times = []
    with torch.no_grad():
        for _ in range(3):
            begin = time.perf_counter()
            logits = model(tokens).logits
            times.append(time.perf_counter() - begin)
    before = logits if before is None else before
    error = (logits - before).norm() / before.norm()
    print(f"{name:30} {1e3 * min(times):8.1f} ms   off sdpa by {error:.1e}")
    if name == "heed":
        assert error < 1e-4
