# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Attention maps of every head on the first tokens of a text, to stand in a page."""

import base64

import numpy as np

from heed.models import weights

TOKENS = 96
MOST_BYTES = 3_000_000  # of all maps of a page


def packed(map_):
    """Base64 of a map [tokens, tokens]: its lower triangle, row by row.

    A byte a weight, 255 times its square root: a weight of 0.001 is still seen.
    """
    rows, columns = np.tril_indices(len(map_))
    levels = np.rint(255 * np.sqrt(np.clip(map_[rows, columns], 0, 1)))
    return base64.b64encode(levels.astype(np.uint8).tobytes()).decode("ascii")


def fitting(tokens, heads):
    """The most tokens, up to so many, of which the maps of all heads fit a page."""
    size = lambda n: heads * 4 * -(-(n * (n + 1) // 2) // 3)
    while tokens > 1 and size(tokens) > MOST_BYTES:
        tokens -= 1
    return tokens


def of_text(model, ids, tokens):
    """{"tokens": [text of each], "heads": [packed map, layer by layer]}."""
    ids = ids[: fitting(tokens, model.layers * model.heads)]
    layers = weights.observed(model, ids, lambda found: [packed(m) for m in found])
    return {
        "tokens": [model.tokenizer.decode([token]) for token in ids],
        "heads": [map_ for layer in layers for map_ in layer],
    }
