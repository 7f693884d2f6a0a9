# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a variant does to attention itself, layer by layer, in a real model.

All variants see the queries, keys and values of one forward of exact attention,
so that a layer's numbers are its own and not those of layers before it.
"""

import time

import numpy as np
import torch

import heed
from heed.models import network, places

CHOOSING = ("estimate", "select", "build")


def _head_errors(out, exact):
    """Relative L2 of each head, from [b, h, s, d]."""
    difference = (out - exact).double().pow(2).sum((0, 2, 3))
    size = exact.double().pow(2).sum((0, 2, 3))
    return (difference / size).sqrt().numpy()


def _one(spec, q, k, v, arguments, exact, exact_lse, maps=None):
    """The numbers of one variant in one layer; maps: of this layer, if fitted."""
    if spec in places.YARDSTICKS:
        return _yardstick(places.YARDSTICKS[spec], q, k, v, arguments, exact)
    if maps is not None:
        spec = maps.spec
        q, k, inputs = maps.inputs(q, k)
        arguments = {**arguments, "inputs": inputs}
    run = heed.run_variant(spec, q, k, v, **arguments)
    errors = _head_errors(run.out, exact)
    whole = (run.out - exact).double().norm() / exact.double().norm()
    numbers = {
        "rel_l2": float(whole),
        "rel_l2_heads": [round(float(e), 5) for e in errors],
        "density": run.density,
        "mass": None,
    }
    if run.density is not None:
        mass = torch.exp(run.lse.double() - exact_lse.double()).clamp(0, 1)
        numbers["mass"] = float(mass.mean())
        numbers["mass_p05"] = float(torch.quantile(mass.flatten()[::7], 0.05))
        numbers["mass_heads"] = [round(float(m), 5) for m in mass.mean((0, 2))]
    again = heed.run_variant(spec, q, k, v, record=False, **arguments)
    numbers["seconds"] = again.seconds
    numbers["choosing_seconds"] = sum(again.phases[p] for p in CHOOSING)
    return numbers


def _yardstick(bits, q, k, v, arguments, exact):
    """The same of exact attention over a rounded cache; its time says nothing."""
    k, v = (network.rounded(x, bits) for x in (k, v))
    out = heed.attention(q, k, v, **arguments)
    errors = _head_errors(out, exact)
    return {
        "rel_l2": float((out - exact).double().norm() / exact.double().norm()),
        "rel_l2_heads": [round(float(e), 5) for e in errors],
        "density": None,
        "mass": None,
        "seconds": None,
        "choosing_seconds": None,
    }


def measure(model, ids, specs, progress=lambda layer: None, fits={}):
    """Runs one forward; returns ({spec: [numbers of a layer, ...]}, exact seconds).

    fits: of those that are fitted (fitted.py), or a sentence why one is not; their
    time is without making the features of a ridge.

    A variant that refuses a layer has its sentence, a str, instead of the list; all
    have one where the model's attention is not what queries, keys and values say.
    """
    refused = {spec: fit for spec, fit in fits.items() if isinstance(fit, str)}
    result = {spec: refused.get(spec, []) for spec in specs}
    exact_seconds = []

    def observe(layer, query, key, value, arguments, out):
        q, k, v = (x.detach().float() for x in (query, key, value))
        exact, lse = heed.attention(q, k, v, return_lse=True, **arguments)
        began = time.perf_counter()
        heed.attention(q, k, v, **arguments)
        exact_seconds.append(time.perf_counter() - began)
        for spec in specs:
            if isinstance(result[spec], str):
                continue
            maps = fits[spec].layers[layer] if spec in fits else None
            try:
                result[spec].append(_one(spec, q, k, v, arguments, exact, lse, maps))
            except ValueError as error:
                result[spec] = str(error)
        progress(layer)

    model.switch.reset()
    model.switch.observer = observe
    try:
        model.hidden(ids)
    except ValueError as error:
        result = {spec: f"attention beneath is not measured: {error}" for spec in specs}
    finally:
        model.switch.reset()
    return result, exact_seconds


def summary(layers, exact_seconds):
    """A variant's numbers over all layers, and which layer it starves."""
    mean = lambda key: (
        None
        if any(layer[key] is None for layer in layers)
        else float(np.mean([layer[key] for layer in layers]))
    )
    timed = layers[0]["seconds"] is not None
    seconds = sum(layer["seconds"] for layer in layers) if timed else None
    choosing = sum(layer["choosing_seconds"] for layer in layers) if timed else None
    numbers = {
        "density": mean("density"),
        "mass": mean("mass"),
        "rel_l2": mean("rel_l2"),
        "rel_l2_worst_head": max(max(layer["rel_l2_heads"]) for layer in layers),
        "seconds": seconds,
        "time_ratio": seconds / sum(exact_seconds) if timed else None,
        "choosing_share": choosing / seconds if seconds else None,
    }
    if numbers["mass"] is not None:
        worst = min(range(len(layers)), key=lambda i: layers[i]["mass"])
        numbers["worst_layer"] = worst
        numbers["worst_layer_mass"] = layers[worst]["mass"]
    return numbers
