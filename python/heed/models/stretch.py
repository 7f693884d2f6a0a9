# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Losses beyond the length that a model was trained on, its positions stretched."""

import numpy as np

from heed.models import ablation, scores
from heed.models.errors import InputError
from heed.models.rotary import Turn

LEAST = 1.25  # times the trained length; less says nothing
BLOCKS = 32  # of the trained length; losses are kept as their means
# Every token with half the trained length before it, and never more than all of it.
CUT = "cut"


def scalings(factor, trained):
    """{name: scaling of a Turn}, for texts of `factor` times the trained length."""
    return {
        "none": None,
        "linear": {"kind": "linear", "factor": factor},
        "ntk": {"kind": "ntk", "factor": factor},
        "yarn": {"kind": "yarn", "factor": factor, "original_positions": trained},
    }


def _losses(model, ids):
    return ablation.losses(model, model.hidden(ids), ids)


def cut_losses(model, ids, trained):
    """Losses of ids[1:], the text cut into overlapping pieces of the trained length."""
    step, found = trained // 2, []
    for begin in range(0, len(ids), step):
        piece = ids[begin : begin + trained]
        known = trained - step if begin else 0  # tokens that a piece before it has
        if begin and len(piece) <= known:
            break
        found.append(_losses(model, piece)[max(known - 1, 0) :])
    return np.concatenate(found)


def blocks_of(losses, trained):
    """Means of the losses of each thirty-second of the trained length."""
    size = max(trained // BLOCKS, 1)
    return [
        float(np.mean(losses[begin : begin + size]))
        for begin in range(0, len(losses), size)
    ]


def measure(model, rotary, texts, trained, name):
    """A dict of the blocks' losses of each text, under a scaling or cut."""
    blocks = []
    for ids in texts:
        if name == CUT:
            losses = cut_losses(model, ids, trained)
        else:
            scaling = scalings(len(ids) / trained, trained)[name]
            with rotary.by(Turn(scaling=scaling)):
                losses = _losses(model, ids)
        if not np.isfinite(losses).all():
            raise InputError(f"{model.name}: gives losses that are not finite ({name})")
        blocks.append(blocks_of(losses, trained))
    return {"blocks": blocks}


def summary(found, tokens, trained):
    """Rows by scaling: losses within and beyond, by halves of the trained length.

    found: {name: what measure() gave}. Changes are from the cut text's, paired by
    blocks, whose error they have; blocks are taken as independent.
    """
    half = BLOCKS // 2
    cut = np.array(found[CUT]["blocks"])
    rows = []
    for name, numbers in found.items():
        blocks, buckets = np.array(numbers["blocks"]), []
        size = max(trained // BLOCKS, 1)
        for begin in range(0, blocks.shape[1], half):
            these = np.s_[:, begin : begin + half]
            bucket = {
                "first": begin * size + 1,
                "last": min((begin + half) * size, tokens - 1),
                "loss": float(blocks[these].mean()),
            }
            if name != CUT:
                change = scores.mean_error((blocks[these] - cut[these]).ravel())
                bucket["change"], bucket["change_error"] = change
            buckets.append(bucket)
        rows.append({"scaling": name, "buckets": buckets})
    return rows


def lines_of(found):
    buckets = found["rows"][0]["buckets"]
    lines = [
        f"loss by position, {found['texts']} texts of {found['tokens']:,} tokens, "
        f"model trained on {found['trained']:,}; change from the text cut into pieces:",
        f"{'scaling':10s}" + "".join(f"{'to ' + str(b['last']):>17s}" for b in buckets),
    ]
    for row in found["rows"]:
        cells = [
            f"{b['loss']:.3f}" + (f" ({b['change']:+.3f})" if "change" in b else "")
            for b in row["buckets"]
        ]
        lines.append(f"{row['scaling']:10s}" + "".join(f"{c:>17s}" for c in cells))
    return lines
