# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a head does, in numbers of its attention weights, in numpy.

weights: [heads, rows, keys] of causal attention of a text on itself, rows summing
to one.
"""

import numpy as np

LOCAL = 64


def of_text(weights):
    """Numbers of each head on a text, means over its rows but the first few.

    entropy (nats), entropy_norm (by the logarithm of the keys a row sees), distance
    (tokens back), sink (weight on the first token), self, previous, local (the last
    64 keys). Returns {name: array [heads]}.
    """
    heads, n, _ = weights.shape
    rows = slice(min(LOCAL, n // 2), n)  # rows that see more than their near keys
    part = weights[:, rows].astype(np.float64)
    at = np.arange(rows.start, n)
    back = at[:, None] - np.arange(n)[None]
    entropy = -(part * np.log(np.maximum(part, 1e-30))).sum(2)
    index = at - rows.start
    return {
        "entropy": entropy.mean(1),
        "entropy_norm": (entropy / np.log(at + 1)).mean(1),
        "distance": (part * np.maximum(back, 0)).sum(2).mean(1),
        "sink": part[:, :, 0].mean(1),
        "self": part[:, index, at].mean(1),
        "previous": part[:, index, at - 1].mean(1),
        "local": (part * ((back >= 0) & (back < LOCAL))).sum(2).mean(1),
    }


def of_repetition(weights, length, begin=0):
    """Of a block of `length` different tokens, given twice: {name: array [heads]}.

    begin: where the first copy begins.

    induction: weight on the token after a row's earlier copy (prefix matching,
    Olsson et al. 2022); duplicate: on the copy itself. Means over the second copy.
    """
    at = begin + np.arange(length, 2 * length - 1)
    return {
        "induction": weights[:, at, at - length + 1].astype(np.float64).mean(1),
        "duplicate": weights[:, at, at - length].astype(np.float64).mean(1),
    }


def retrieves(top_keys, ids, items, span=16):
    """[heads] counts of answers that heads look up (Wu et al. 2024, 2404.15574).

    top_keys: [heads, items], the key of the largest weight in the row that must say
    the answer. Counted where it stands in the answer's sentence, `span` tokens from
    its begin, and is the answer.
    """
    counts = np.zeros(len(top_keys))
    for i, item in enumerate(items):
        begin = item.position - item.distance
        for head, keys in enumerate(top_keys):
            key = int(keys[i])
            counts[head] += begin <= key < begin + span and ids[key] == item.right
    return counts


# In this order, what is special first: a head that looks answers up rests on the
# first token of a text that asks for none. Thresholds of Clark et al. 2019 (previous
# 0.5, sink 0.6, broad 3.8 nats) and Wu et al. 2024 (retrieval 0.1); the others ours.
RULES = [
    ("previous token", "previous", 0.5),
    ("duplicate", "duplicate", 0.4),
    ("induction", "induction", 0.4),
    ("retrieval", "retrieval", 0.1),
    ("sink", "sink", 0.6),
    ("local", "local", 0.8),
    ("broad", "entropy", 3.8),
]


def type_of(numbers):
    """The first rule that a head's numbers meet, or "mixed"."""
    for name, key, threshold in RULES:
        if numbers[key] >= threshold:
            return name
    return "mixed"
