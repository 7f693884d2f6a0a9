# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Whether later tokens reach earlier rows through what a variant chooses."""

import functools

import numpy as np

import heed


@functools.lru_cache(maxsize=None)
def looks_ahead(spec, tokens, head_dim=64):
    """Whether other tokens behind a row change it, measured on random numbers.

    Four heads of `tokens` rows run twice, the second time with another last quarter,
    which begins in the midst of blocks of 16 rows and more. False where a variant refuses. A
    variant that does so on some inputs alone can pass: heed.variants() says which
    may by their rule.
    """
    rng = np.random.default_rng(1)
    shape = (1, tokens, 4, head_dim)
    first = [rng.standard_normal(shape, np.float32) for _ in range(3)]
    begin = 3 * tokens // 4 // 64 * 64 + 40
    second = [x.copy() for x in first]
    for x in second:
        x[:, begin:] = rng.standard_normal(x[:, begin:].shape, np.float32)
    try:
        rows = [
            heed.run_variant(spec, *qkv, causal=True, record=False).out[:, :begin]
            for qkv in (first, second)
        ]
    except ValueError:
        return False
    return not np.allclose(*rows, atol=1e-5, equal_nan=True)
