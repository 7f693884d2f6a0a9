# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Heads switched off: one at a time, and many; what the loss says."""

import contextlib

import numpy as np
import torch

from heed.models import network, scores
from heed.models.errors import InputError


def losses(model, hidden, ids):
    """Loss of each token from index 1 on, from last hidden states, float64 [n - 1]."""
    found, targets = [], np.array(ids[1:])
    for begin in range(0, len(targets), network.ROWS):
        rows = slice(begin, min(begin + network.ROWS, len(targets)))
        log_probs = model.log_probs(hidden[rows])
        found.append(-log_probs[np.arange(len(log_probs)), targets[rows]])
    return np.concatenate(found).astype(np.float64)


def switched_off(heads, means=None):
    """An edit of attention's result: heads become zero, or their means [heads, d]."""

    def edit(out):
        out[:, :, heads] = 0 if means is None else means[heads]
        return out

    return edit


def edits_of(heads, means=None):
    """Edits by layer for [(layer, head), ...]; means: by layer, or None for zero."""
    layers = {}
    for layer, head in heads:
        layers.setdefault(layer, []).append(head)
    return {
        layer: switched_off(these, None if means is None else means[layer])
        for layer, these in layers.items()
    }


def run(model, ids, edits):
    """Last hidden states with edits of attention."""
    model.switch.reset()
    model.switch.edits = edits
    try:
        return model.hidden(ids)
    finally:
        model.switch.reset()


def mean_outputs(model, ids):
    """{layer: [heads, d]}: means of attention's result over a text."""
    means = {}

    def keep(layer):
        def edit(out):
            means[layer] = out.mean((0, 1)).clone()
            return out

        return edit

    run(model, ids, {layer: keep(layer) for layer in range(model.layers)})
    return means


def decoder_layers(model):
    layers = getattr(model.model.base_model, "layers", None)
    if layers is None or len(layers) != model.layers:
        raise InputError(f"{model.name}: does not say which modules its layers are")
    return layers


@contextlib.contextmanager
def started_at(layers, first, states):
    """Lets a forward begin at a layer, from the states that enter it."""
    below = layers[:first]
    kept = [layer.forward for layer in below]
    try:
        for layer in below:
            layer.forward = lambda hidden, *args, **kwargs: hidden
        if first:
            below[-1].forward = lambda hidden, *args, **kwargs: states
        yield
    finally:
        for layer, forward in zip(below, kept):
            layer.forward = forward


def states_before(model, ids):
    """What enters each layer, a list of [1, n, width]."""
    states, hooks = [], []
    for layer in decoder_layers(model):
        take = lambda module, args, kwargs: states.append(
            (args[0] if args else kwargs["hidden_states"]).detach()
        )
        hooks.append(layer.register_forward_pre_hook(take, with_kwargs=True))
    try:
        model.hidden(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return states


def each_head(model, ids, how, progress=lambda layer: None):
    """Change of loss by switching off each head alone: (mean, error) [layers][heads].

    how: "zero" or "mean". Layers below a head's are not computed again. Errors
    are those of paired tokens.
    """
    layers, states = decoder_layers(model), states_before(model, ids)
    means = mean_outputs(model, ids) if how == "mean" else None
    before = losses(model, run(model, ids, {}), ids)
    table = []
    for layer in range(model.layers):
        row = []
        with started_at(layers, layer, states[layer]):
            for head in range(model.heads):
                hidden = run(model, ids, edits_of([(layer, head)], means))
                change = losses(model, hidden, ids) - before
                row.append(scores.mean_error(change))
        table.append(row)
        progress(layer)
    return table


def taylor(model, segments, off=()):
    """Mean |dL / d gate| of each head over segments of tokens, [layers, heads].

    The importance of Michel et al. 2019 (arXiv:1905.10650): a gate of 1 on each
    head's result, L the mean loss of a segment. off: [(layer, head), ...] whose
    gates stay 0; theirs is 0.
    """
    kept = torch.ones(model.layers, model.heads)
    for at in off:
        kept[at] = 0
    for parameter in model.model.parameters():
        parameter.requires_grad_(False)
    total = np.zeros((model.layers, model.heads))
    for ids in segments:
        gates = torch.ones(model.layers, model.heads, requires_grad=True)
        model.switch.reset()
        model.switch.edits = {
            layer: (
                lambda out, layer=layer: out
                * (gates[layer] * kept[layer])[None, None, :, None]
            )
            for layer in range(model.layers)
        }
        try:
            with torch.enable_grad():
                batch = torch.tensor([ids])
                logits = model.model(batch, use_cache=False).logits[0, :-1]
                loss = torch.nn.functional.cross_entropy(logits, batch[0, 1:])
                loss.backward()
        finally:
            model.switch.reset()
        total += gates.grad.abs().numpy()
    return total / len(segments)


def iterated_taylor(model, segments, tenths):
    """(layer, head) in the order to take away, importance made anew on the way.

    After each tenth of the heads, up to so many tenths, without those before it
    (Michel et al. 2019); the rest follow by the last importance.
    """
    left = [(at, head) for at in range(model.layers) for head in range(model.heads)]
    count, order = len(left), []
    for tenth in range(1, tenths + 1):
        importance = taylor(model, segments, order)
        left.sort(key=lambda at: importance[at])
        taken = round(tenth * count / 10) - len(order)
        order, left = order + left[:taken], left[taken:]
    return order + left
