# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""nano-sparse-attention: loss against density, of three ways to be sparse."""

import numpy as np

from heed.models import scores
from heed.models.published.bar import (
    DIRECTION,
    NOT_SEEN,
    REDONE,
    Bar,
    Number,
    Unable,
    surely_above,
    together,
)

LOCAL, VERTICAL, BLOCKS = "local and 16 sinks", "vertical-slash", "blocks of 64"
# From sparse to dense, so that densities overlap from 512 tokens to 4,096.
WAYS = {
    LOCAL: [f"window_sink:window={w}:sink=16" for w in (64, 128, 256, 512)],
    VERTICAL: [
        f"vertical_slash:vertical_size={v}:slash_size={s}"
        for v, s in ((32, 64), (64, 128), (128, 192), (256, 256))
    ],
    BLOCKS: [f"block_topk:block=64:total_blocks={k}" for k in (3, 6, 10, 16)],
}
DENSITIES = (0.2, 0.3, 0.4)
PUBLISHED = {  # loss over that of dense attention, 1.4141, about these densities
    LOCAL: (0.088, 0.075, 0.057),
    VERTICAL: (0.047, 0.037, 0.022),
    BLOCKS: (0.070, 0.024, 0.021),
}
NEAR = 0.02  # of a density: no other place stands so near
PLACES = 3  # in the range of densities that all have, beside the published ones


def at(curve, density):
    """(loss, error) between points (density, loss, error): the larger error of both."""
    curve = sorted(curve)
    densities, losses, errors = zip(*curve)
    right = min(max(int(np.searchsorted(densities, density)), 1), len(curve) - 1)
    error = max(errors[right - 1 : right + 1])
    return float(np.interp(density, densities, losses)), error


def compared(curves):
    """[{"density", way: [loss, error]}] where all curves have a density, or [].

    Published densities come first; others are even in what all have. curves: {way:
    [(density, loss, error)]}.
    """
    low = max(min(p[0] for p in curve) for curve in curves.values())
    high = min(max(p[0] for p in curve) for curve in curves.values())
    if low >= high:
        return []
    places = [density for density in DENSITIES if low <= density <= high]
    even = [round(float(x), 9) for x in np.linspace(low, high, PLACES + 2)[1:-1]]
    # One beside another place would count it twice.
    places += [d for d in even if all(abs(d - place) > NEAR for place in places)]
    return [
        {
            "density": density,
            **{way: list(at(curve, density)) for way, curve in curves.items()},
        }
        for density in places
    ]


def measure(context):
    exact, curves = context.losses("exact"), {}
    for way, specs in WAYS.items():
        curves[way] = []
        for spec in specs:
            loss, error = scores.mean_error(context.losses(spec) - exact)
            densities = [density for density, _ in context.kept(spec, context.tokens)]
            curves[way].append((float(np.mean(densities)), loss, error))
    if not compared(curves):
        raise Unable("the ways have no densities in common at so few tokens")
    return {"tokens": context.tokens, "curves": curves}


def judge(ours):
    return judge_places(compared(ours["curves"]))


def judge_places(places):
    def better(surely):
        for place in places:
            local, local_error = place[LOCAL]
            for way in (VERTICAL, BLOCKS):
                less = local - place[way][0]
                error = together(local_error, place[way][1])
                if not (surely_above(less, error) if surely else less > 0):
                    return False
        return True

    published = any(place["density"] in DENSITIES for place in places)
    if published and better(True):
        return REDONE
    return DIRECTION if better(False) else NOT_SEEN


def numbers(ours):
    found = []
    for place in compared(ours["curves"]):
        density = place["density"]
        for way in (VERTICAL, BLOCKS, LOCAL):
            loss, error = place[way]
            what = f"loss over exact attention's at density {density:.2f}, {way}"
            known = dict(zip(DENSITIES, PUBLISHED[way])).get(density)
            published = "-" if known is None else f"{known:.3f} at {density}"
            found.append(Number(what, published, loss, error))
    return found


BARS = (
    Bar(
        name="curves",
        title="Choosing by content loses less than a window with sinks, at one density",
        source="nano-sparse-attention (Nawrot 2024), loss against sparsity of prefill",
        rule="redone: at the published densities that all have (0.2, 0.3, 0.4), one at "
        "least, and at three more in the range of all, vertical-slash and blocks each have "
        "a lower loss than local and sinks, by 1.96 errors of tokens; direction only: they "
        "have, on average, at all of these that there are",
        differences=(
            "published of Llama-3.2-1B on three bills of 4,096 tokens; here of a small "
            "model on prose, between settings",
            "vertical-slash and blocks choose by later tokens too, there and here",
            "densities are those of six layers of exact attention's own queries and keys",
        ),
        measure=measure,
        judge=judge,
        numbers=numbers,
    ),
)
