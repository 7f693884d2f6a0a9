# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The attention weights of a model, formed in plain PyTorch to be looked at."""

import torch

from heed.models.errors import InputError


def scores_of(q, k, arguments, rows=None):
    """(scores [heads, rows, keys], distances [rows, keys] from keys to their rows).

    q, k: [1, heads, tokens, head_dim]; arguments: what heed.attention() takes
    besides, as an observer is told it; rows: a tensor of queries, or None for all.
    A distance below 0 is a key ahead.
    """
    group = q.shape[1] // k.shape[1]
    rows = torch.arange(q.shape[2]) if rows is None else rows
    scores = q[0][:, rows] @ k[0].repeat_interleave(group, 0).transpose(1, 2)
    scores *= arguments["softmax_scale"]
    if cap := arguments["softcap"]:
        scores = torch.tanh(scores / cap) * cap
    at = rows[:, None] + arguments["causal_offset"]
    return scores, at - torch.arange(k.shape[2])


def hidden_of(distances, arguments):
    """Which pairs the model's masks hide."""
    left, _ = arguments["window_size"]  # no key ahead is seen anyway
    hidden = distances < 0
    return hidden | (distances > left) if left >= 0 else hidden


def weights_of(q, k, arguments, rows=None):
    """Softmax weights [heads, rows, keys] of causal attention, float32."""
    scores, distances = scores_of(q, k, arguments, rows)
    hidden = hidden_of(distances, arguments)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


def seen_by_layers(model, ids, take):
    """[take(q, k, arguments) of each layer] of one forward of exact attention.

    Raises InputError for a model whose attention queries and keys do not say:
    learned sinks, biases, masks of its own.
    """
    found = [None] * model.layers

    def observe(layer, q, k, v, arguments, out):
        found[layer] = take(q.float(), k.float(), arguments)

    model.switch.reset()
    model.switch.observer = observe
    try:
        model.hidden(ids)
    except ValueError as error:
        raise InputError(f"{model.name}: {error}") from None
    finally:
        model.switch.reset()
    return found


def observed(model, ids, take):
    """[take(weights) of each layer], numpy float32, as seen_by_layers()."""
    return seen_by_layers(
        model, ids, lambda q, k, arguments: take(weights_of(q, k, arguments).numpy())
    )
