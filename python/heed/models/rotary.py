# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""A model's rotary positions in our hands: where its tokens stand, how far it turns."""

import contextlib
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np
import torch

import heed
from heed import _heed
from heed.models.errors import InputError


@dataclass
class Turn:
    """How queries and keys are turned.

    place: from how many tokens there are to where each stands, whole numbers;
    speed: what all angles are multiplied by, 0 for no positions at all; scaling: as
    heed.rope_tables() takes it, or None for the model's own angles.
    """

    place: Callable = np.arange
    speed: float = 1.0
    scaling: Optional[dict] = None


def turned(x, cos, sin, interleaved):
    """x [..., tokens, channels], torch, turned by tables [tokens, pairs]."""
    pairs = cos.shape[1]
    cos, sin = torch.from_numpy(cos), torch.from_numpy(sin)
    out = x.clone()
    if interleaved:
        first, second = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
    else:
        first, second = slice(0, pairs), slice(pairs, 2 * pairs)
    a, b = x[..., first], x[..., second]
    out[..., first], out[..., second] = a * cos - b * sin, b * cos + a * sin
    return out


def _theta_of(config):
    """The base of plain RoPE that a configuration names, or None."""
    given = getattr(config, "rope_parameters", None) or {}
    theta = given.get("rope_theta", getattr(config, "rope_theta", None))
    return float(theta) if isinstance(theta, (int, float)) else None


class Rotary:
    """The one module that makes a model's tables, whose result by() replaces.

    frequencies: angles a position; theta: their base, None where they are not plain
    RoPE's; amplitude: what the model multiplies its tables by.
    """

    def __init__(self, model):
        found = [
            module
            for module in model.model.base_model.modules()
            if isinstance(getattr(module, "inv_freq", None), torch.Tensor)
        ]
        if len(found) != 1:
            raise InputError(
                f"{model.name}: has {len(found)} modules of rotary positions, where "
                "one for all layers is needed"
            )
        self._module = found[0]
        self.frequencies = found[0].inv_freq.double().numpy()
        self.dim = 2 * len(self.frequencies)
        self.amplitude = float(getattr(found[0], "attention_scaling", 1.0))
        self.interleaved = self._layout_of(model)
        theta = _theta_of(model.model.config.get_text_config())
        plain = theta and np.allclose(
            _heed.rope_frequencies(theta, self.dim), self.frequencies, rtol=1e-5
        )
        self.theta = theta if plain and self.amplitude == 1 else None

    def _layout_of(self, model):
        """Whether pairs are neighbours; refuses tables that are not understood."""
        made = []
        hook = self._module.register_forward_hook(lambda m, args, out: made.append(out))
        try:
            model.hidden([3] * 24)
        finally:
            hook.remove()
        own = made[0] if len(made) == 1 else None
        if isinstance(own, tuple) and len(own) == 2 and own[0].dim() == 3:
            tables = self.tables(Turn(), 24)
            for interleaved in (False, True):
                want = self._as_the_model(tables, interleaved)
                if all(
                    x.shape[1:] == y.shape
                    and torch.allclose(x[0].float(), y, atol=1e-4)
                    for x, y in zip(own, want)
                ):
                    return interleaved
        raise InputError(f"{model.name}: makes tables of positions of another form")

    def tables(self, turn, tokens):
        """(cos, sin) float32 [tokens, pairs], by heed, for so many tokens."""
        places = np.asarray(turn.place(tokens))
        low, count = int(places.min()), int(np.ptp(places)) + 1
        if turn.scaling is None:
            speeds = [turn.speed * f for f in self.frequencies]
            made = heed.rope_tables(self.dim, count, first=low, frequencies=speeds)
        else:
            if self.theta is None:
                raise InputError("a model whose positions are stretched already")
            made = heed.rope_tables(
                self.dim, count, first=low, theta=self.theta, scaling=turn.scaling
            )
        amplitude = np.float32(self.amplitude)
        return tuple(table[places - low] * amplitude for table in made)

    @staticmethod
    def _as_the_model(tables, interleaved):
        """Tables as models have them: a number a channel, not a pair."""
        return [
            torch.from_numpy(np.repeat(t, 2, axis=1) if interleaved else np.tile(t, 2))
            for t in tables
        ]

    @contextlib.contextmanager
    def by(self, turn):
        """The model with its queries and keys turned so."""

        def replace(module, args, own):
            tables = self._as_the_model(
                self.tables(turn, own[0].shape[1]), self.interleaved
            )
            return tuple(new[None].to(old.dtype) for new, old in zip(tables, own))

        hook = self._module.register_forward_hook(replace)
        try:
            yield
        finally:
            hook.remove()
