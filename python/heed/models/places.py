# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Where variants stand in a model: lists of layers, files of heads, lists of specs."""

import itertools
import re

from heed import _heed
from heed.models.errors import InputError


def parse_layers(text, count, what):
    """Layers of a list such as "2-", "0,5-9" or "-3", as a set."""
    layers = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{0,9})(?:\s*(-)\s*([0-9]{0,9}))?\s*", part)
        if not found or not (found[1] or found[3]):
            raise InputError(f"{what}: '{part}' is no layer, nor a range as 2-5 or 2-")
        first = int(found[1] or 0)
        last = int(found[3]) if found[3] else (count - 1 if found[2] else first)
        if last >= count or first > last:
            raise InputError(
                f"{what}: '{part}': the model has layers 0 to {count - 1}"
            )
        layers.update(range(first, last + 1))
    return layers


def is_number(word):
    """Whether a word is a number of ASCII digits; others are digits to str, too."""
    return re.fullmatch(r"[0-9]{1,9}", word) is not None


def parse_heads(path, layers, heads):
    """Heads of a file, a "layer head" a line, as {layer: [heads]}."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--where heads {path}: {error}") from None
    chosen = {}
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not all(map(is_number, words)):
            raise InputError(f"{path}: line {number} is not 'layer head'")
        layer, head = map(int, words)
        if layer >= layers or head >= heads:
            raise InputError(
                f"{path}: line {number}: the model has {layers} layers of {heads} heads"
            )
        chosen.setdefault(layer, []).append(head)
    if not chosen:
        raise InputError(f"{path}: names no head")
    return {layer: sorted(set(these)) for layer, these in chosen.items()}


class Where:
    """The heads that a variant computes; all others are exact.

    heads: {layer: None for all of its heads, or a list}; label: "all layers" or
    what was asked for.
    """

    def __init__(self, text, dense, layers, heads):
        words = (text or "").split(None, 1)
        if not words:
            self.heads = {layer: None for layer in range(layers)}
        elif words[0] == "layers" and len(words) == 2:
            chosen = parse_layers(words[1], layers, "--where layers")
            self.heads = {layer: None for layer in sorted(chosen)}
        elif words[0] == "heads" and len(words) == 2:
            self.heads = parse_heads(words[1], layers, heads)
        else:
            raise InputError(
                f"--where '{text}': is neither 'layers 2-' nor 'heads FILE'"
            )
        self.label = text or "all layers"
        if dense:
            for layer in parse_layers(dense, layers, "--dense-layers"):
                self.heads.pop(layer, None)
            self.label += f" without layers {dense}"
        if not self.heads:
            raise InputError("--where, --dense-layers: no layer is left to a variant")


# Exact attention over keys and values rounded to so many bits, a scale a token and
# head: what a smaller cache of this very model costs, as a yardstick for variants.
YARDSTICKS = {"kv_int8": 8, "kv_int4": 4}
# Linear attention with maps fitted to the model (fitted.py).
FITTED = ("hedgehog_fitted", "ridge_fitted")


def expand(spec):
    """Settings of a spec with lists, "window_sink:window=64,256:sink=0,4", in order.

    Each has all of its knobs, as the variant spells them. Raises InputError for a
    variant or a knob that does not exist.
    """
    name, *knobs = spec.split(":")
    if spec in YARDSTICKS or spec in FITTED:
        return [spec]
    lists = []
    for knob in knobs:
        key, equals, values = knob.partition("=")
        if not equals:
            raise InputError(f"--variants {spec}: '{knob}' is not knob=value")
        lists.append([f":{key}={value}" for value in values.split(",")])
    try:
        return [
            _heed.format_spec(name + "".join(choice))
            for choice in itertools.product(*lists)
        ]
    except ValueError as error:
        raise InputError(f"--variants {spec}: {error}") from None


def expand_all(specs):
    """All settings of specs, each once, without exact attention."""
    settings = dict.fromkeys(s for spec in specs for s in expand(spec))
    settings.pop("exact", None)
    return list(settings)
