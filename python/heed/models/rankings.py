# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Rank correlation; whether heads rank alike on another text, by another criterion."""

import itertools
import math

import numpy as np

CRITERIA = ("taylor", "ablation", "retrieval", "sink")
TOP = 0.2  # share of heads whose overlap is counted


def ranks(values):
    """Ranks from 1 on, equal values sharing the mean of theirs."""
    values = np.asarray(values, np.float64)
    order = np.argsort(values, kind="stable")
    result = np.empty(len(values))
    result[order] = np.arange(1, len(values) + 1)
    for value in np.unique(values):
        same = values == value
        result[same] = result[same].mean()
    return result


def rank_correlation(a, b):
    """Spearman's, of pairs that are both finite; None for fewer than three."""
    pairs = [
        (x, y)
        for x, y in zip(a, b)
        if x is not None and y is not None and math.isfinite(x) and math.isfinite(y)
    ]
    if len(pairs) < 3:
        return None
    x, y = (ranks(side) for side in zip(*pairs))
    if x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def alike(a, b):
    """Spearman's rho of two lists of numbers, and how their highest overlap.

    top: a fifth of the heads, or as many as have a number above zero in both, where
    that is fewer; shared: those that are among the top of both; by_chance: how many
    two random choices would share.
    """
    above = min(sum(x > 0 for x in side) for side in (a, b))
    top = min(round(TOP * len(a)), above)
    highest = [
        set(sorted(range(len(side)), key=lambda i: -side[i])[:top]) for side in (a, b)
    ]
    return {
        "rho": rank_correlation(a, b),
        "top": top,
        "shared": len(highest[0] & highest[1]),
        "by_chance": top**2 / len(a),
    }


def rankings(texts):
    """Of lists of heads of one or two texts, in one order: dicts with a and b.

    Each criterion between the texts, and each pair of criteria on the first.
    """
    criteria = [name for name in CRITERIA if all(name in heads[0] for heads in texts)]
    column = lambda heads, name: [head[name] for head in heads]
    found = []
    if len(texts) > 1:
        for name in criteria:
            both = (column(heads, name) for heads in texts)
            found.append({"a": name, "b": f"{name}, other text", **alike(*both)})
    for a, b in itertools.combinations(criteria, 2):
        first = texts[0]
        found.append({"a": a, "b": b, **alike(column(first, a), column(first, b))})
    return found
