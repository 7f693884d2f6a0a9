#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # Attention, and what a head sees
#
# `pip install . safetensors`, then this, as a notebook or as a program:
# `python examples/python/attend.py`. With matplotlib there is a picture.

# %%
import pathlib

import numpy as np
from safetensors.numpy import load_file

import heed

# %% [markdown]
# ## A prompt, then tokens one by one
#
# On a cache, each with the bits that it has when all are computed at once.

# %%
HEADS, KV_HEADS, DIM, PROMPT, TOKENS = 8, 2, 64, 200, 20

rng = np.random.default_rng(1)
total = PROMPT + TOKENS
q = rng.standard_normal((1, total, HEADS, DIM), np.float32)
k = rng.standard_normal((1, total, KV_HEADS, DIM), np.float32)
v = rng.standard_normal((1, total, KV_HEADS, DIM), np.float32)

at_once = heed.attention(q, k, v, causal=True)

k_cache = np.zeros((1, 256, KV_HEADS, DIM), np.float32)
v_cache = np.zeros_like(k_cache)
begin = 0
for end in [PROMPT, *range(PROMPT + 1, total + 1)]:
    out = heed.with_kvcache(
        q[:, begin:end],
        k_cache,
        v_cache,
        k[:, begin:end],
        v[:, begin:end],
        cache_seqlens=begin,
        causal=True,
    )
    assert (out == at_once[:, begin:end]).all()
    begin = end
print(f"{TOKENS} tokens after a prompt of {PROMPT}: the bits of one call")

# %% [markdown]
# What cannot be done is refused with a sentence, and nothing is written.

# %%
try:
    heed.attention(q, k[:, :, :1], v, causal=True)
except ValueError as error:
    print("refused:", error)

# %% [markdown]
# ## What heads see
#
# Queries and keys of a real model: those that come with the package, SmolLM2-135M
# reading Moby Dick. `heed capture MODEL --text FILE --layers 10 --out mine.safetensors`
# makes such a file from yours.
#
# heed never forms the matrix of weights. It is still what attention gives where the
# values are the unit matrix: each row of `out` is then a row of weights.

# %%
FILE = pathlib.Path(heed.__file__).parent / "share/heed"
FILE = next(FILE.glob("*.safetensors"))
LAYER, TOKENS = 10, 512

tensors = load_file(FILE)
query, key = (
    tensors[f"layer.{LAYER}.{part}"][:TOKENS].astype(np.float32)
    for part in ("query", "key")
)
unit = np.broadcast_to(np.eye(TOKENS, dtype=np.float32)[:, None], (TOKENS, 3, TOKENS))
weights = heed.attention(query, key, unit, causal=True, layout="thd")  # [row, head, key]
assert np.allclose(weights.sum(-1), 1, atol=1e-5)

# %% [markdown]
# The first key is where a head looks that has nothing to say; the last 32 are its
# neighbours. A head with most of its weight there loses little under a window and sinks.

# %%
rows = np.arange(64, TOKENS)
first = weights[rows, :, 0].mean(0)
near = np.stack([weights[i, :, i - 31 : i + 1].sum(-1) for i in rows]).mean(0)
for head in range(weights.shape[1]):
    print(f"head {head}: {first[head]:4.0%} on the first key, {near[head]:4.0%} near")

# %% [markdown]
# One head as a picture: rows are queries, columns are keys, dark is much.

# %%
HEAD = int(np.argmin(first + near))  # the one that looks farthest
SHADES = " .:-=+*#%@"

blocks = weights[:, HEAD].reshape(16, TOKENS // 16, 32, TOKENS // 32).sum((1, 3))
blocks /= blocks.max(axis=1, keepdims=True)
print(f"layer {LAYER}, head {HEAD}")
for line in blocks:
    print("|" + "".join(SHADES[int(9 * share)] for share in line) + "|")

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("with matplotlib there would be a picture")
else:
    plt.imshow(weights[:, HEAD] ** 0.25, cmap="magma")
    plt.title(f"layer {LAYER}, head {HEAD}: weights to the power of 1/4")
    plt.xlabel("key")
    plt.ylabel("query")
    plt.show()
