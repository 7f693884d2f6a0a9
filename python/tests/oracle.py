# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Attention in plain double: the truth that tests hold the package to."""

import numpy as np


def visible(
    rows, keys, causal=False, window_size=(-1, -1), sink_size=0, causal_offset=None
):
    """bool [rows, keys]."""
    offset = keys - rows if causal_offset is None else causal_offset
    at = np.arange(rows)[:, None] + offset
    j = np.arange(keys)[None, :]
    left, right = window_size
    window = np.ones((rows, keys), bool)
    if left >= 0:
        window &= j >= at - left
    if right >= 0:
        window &= j <= at + right
    seen = window | (j < sink_size)
    return seen & (j <= at) if causal else seen


def attention(
    q,
    k,
    v,
    *,
    softmax_scale=None,
    softcap=0.0,
    bias=None,
    mask=None,
    alibi_slopes=None,
    sink_logits=None,
    **masks,
):
    """(out [b, s, h, d], lse [b, h, s]) of [b, s, h, d] tensors."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    rows, keys, group = q.shape[1], k.shape[1], q.shape[2] // max(1, k.shape[2])
    k, v = np.repeat(k, group, 2), np.repeat(v, group, 2)
    scale = q.shape[3] ** -0.5 if not softmax_scale else softmax_scale
    score = np.einsum("bihd,bjhd->bhij", q, k) * scale
    if softcap:
        score = softcap * np.tanh(score / softcap)
    if bias is not None:
        score = score + bias
    if alibi_slopes is not None:
        offset = masks.get("causal_offset")
        offset = keys - rows if offset is None else offset
        distance = abs(np.arange(rows)[:, None] + offset - np.arange(keys))
        score = score - np.asarray(alibi_slopes)[..., None, None] * distance
    score = np.where(visible(rows, keys, **masks), score, -np.inf)
    if mask is not None:
        score = np.where(mask, score, -np.inf)
    if sink_logits is not None:
        sinks = np.broadcast_to(
            np.asarray(sink_logits, np.float64)[..., None, None],
            (*score.shape[:3], 1),
        )
        score = np.concatenate([score, sinks], 3)
        v = np.concatenate([v, np.zeros((v.shape[0], 1, *v.shape[2:]))], 1)
    if score.shape[3] == 0:
        out = np.zeros((*q.shape[:3], v.shape[3]))
        return out, np.full(score.shape[:3], -np.inf)
    top = score.max(3, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    weight = np.exp(score - top)
    total = weight.sum(3, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        lse = np.log(total[..., 0]) + top[..., 0]
        weight = np.where(total > 0, weight / total, 0)
    return np.einsum("bhij,bjhd->bihd", weight, v), lse
