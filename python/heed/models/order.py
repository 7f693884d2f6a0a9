# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Whether attention knows the order of its tokens, and what tells it.

Without positions, permuted tokens have permuted results. The queries' order leaves
every bit as it is; that of keys leaves what sums of floating point allow.
"""

import torch

import heed
from heed.models import ablation
from heed.models.errors import InputError
from heed.models.rotary import Turn, turned

WITHOUT = Turn(speed=0.0)


def difference(got, want):
    """How far results are apart: relative L2, and the share of equal bit patterns."""
    apart = (got - want).double().norm() / want.double().norm()
    same = got.view(torch.int32) == want.view(torch.int32)
    return {"rel_l2": float(apart), "equal": float(same.double().mean())}


def inputs_of(model, rotary, ids, layers):
    """{layer: (q, k, v, arguments of heed.attention())}, without positions."""
    found = {}

    def observe(layer, q, k, v, arguments, out):
        if layer in layers:
            found[layer] = (*(x.detach().float().clone() for x in (q, k, v)), arguments)

    model.switch.reset()
    model.switch.observer = observe
    try:
        with rotary.by(WITHOUT):
            model.hidden(ids)
    except ValueError as error:
        raise InputError(f"{model.name}: {error}") from None
    finally:
        model.switch.reset()
    return found


def permuted(q, k, v, arguments, order, tables, interleaved):
    """{what was permuted and how tokens are told apart: difference()} of one layer.

    order: of tokens; tables: (cos, sin) of their places.
    """
    given = {n: arguments[n] for n in ("softmax_scale", "softcap", "layout")}

    def attend(q, k, v, causal=False):
        return heed.attention(q, k, v, causal=causal, **given)

    def at_places(x):
        return turned(x, *tables, interleaved)

    def mixed(x):
        return x[:, :, order].contiguous()

    plain = attend(q, k, v)
    # Every weight is the same and every sum exact, whatever its order.
    none = torch.zeros_like(q)
    whole = (v * (64 / v.abs().max())).round()
    placed = at_places(q), at_places(k)
    with_places = attend(*placed, v)
    return {
        "queries": difference(attend(mixed(q), k, v), mixed(plain)),
        "keys": difference(attend(q, mixed(k), mixed(v)), plain),
        "tokens": difference(attend(*map(mixed, (q, k, v))), mixed(plain)),
        "tokens, sums exact": difference(
            attend(none, mixed(k), mixed(whole)), attend(none, k, whole)
        ),
        "tokens with their RoPE": difference(
            attend(*map(mixed, (*placed, v))), mixed(with_places)
        ),
        "tokens, RoPE by place": difference(
            attend(at_places(mixed(q)), at_places(mixed(k)), mixed(v)),
            mixed(with_places),
        ),
        "tokens, causal mask": difference(
            attend(*map(mixed, (q, k, v)), causal=True),
            mixed(attend(q, k, v, causal=True)),
        ),
    }


def of_layers(model, rotary, ids, rng):
    """The worst of permuted() over the first, the middle and the last layer."""
    layers = sorted({0, model.layers // 2, model.layers - 1})
    order = rng.permutation(len(ids))
    tables = rotary.tables(Turn(), len(ids))
    found = [
        permuted(*inputs, order, tables, rotary.interleaved)
        for _, inputs in sorted(inputs_of(model, rotary, ids, layers).items())
    ]
    worst = {
        name: {
            "rel_l2": max(layer[name]["rel_l2"] for layer in found),
            "equal": min(layer[name]["equal"] for layer in found),
        }
        for name in found[0]
    }
    return {"layers": layers, "tokens": len(ids), "permuted": worst}


def last_rows(model, ids):
    """What each layer's attention gives the last token, a list of [heads, d]."""
    rows = {}

    def keep(layer):
        def edit(out):
            rows[layer] = out[0, -1].double().clone()
            return out

        return edit

    ablation.run(model, ids, {layer: keep(layer) for layer in range(model.layers)})
    return [rows[layer] for layer in range(model.layers)]


def by_depth(model, rotary, ids, rng):
    """Relative change of the last token's attention, layer by layer, where all tokens
    before it are permuted: without positions, and with the model's own.

    The last row of a causal mask sees all tokens: without positions its first layer
    cannot know their order, those above see it in rows that saw less.
    """
    order = rng.permutation(len(ids) - 1)
    other = [ids[i] for i in order] + [ids[-1]]
    found = {}
    for name, turn in (("without", WITHOUT), ("rope", Turn())):
        with rotary.by(turn):
            before, after = last_rows(model, ids), last_rows(model, other)
        found[name] = [
            float((b - a).norm() / a.norm()) for a, b in zip(before, after)
        ]
    return {"tokens": len(ids), **found}


def lines_of(found):
    lines = []
    if "layers" in found:
        lines.append(
            f"{'permuted':28s}{'relative L2':>14s}{'numbers of equal bits':>26s}"
        )
        for name, numbers in found["layers"]["permuted"].items():
            equal = f"{100 * numbers['equal']:.1f} %"
            lines.append(f"{name:28s}{numbers['rel_l2']:14.1e}{equal:>26s}")
    if "depth" in found:
        lines.append("last token's attention, all tokens before it permuted, by layer:")
        for name, words in (("without", "without positions"), ("rope", "with RoPE")):
            shown = " ".join(f"{x:.0e}" for x in found["depth"][name][:8])
            lines.append(f"  {words:18s}{shown}")
    return lines
