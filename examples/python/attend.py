#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""A prompt, then tokens one by one on a cache: the same bits as at once.

pip install . && python examples/python/attend.py
"""

import numpy as np

import heed

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

try:
    heed.attention(q, k[:, :, :1], v, causal=True)
except ValueError as error:
    print("refused:", error)
