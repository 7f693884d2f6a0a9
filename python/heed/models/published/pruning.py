# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Michel et al.: a fifth, or two fifths, of the heads can go, the least important first."""

import math

import numpy as np

from heed.models import ablation, heads, scores
from heed.models.published.bar import (
    DIRECTION,
    NOT_SEEN,
    Bar,
    Number,
    surely_above,
)

MARKS = (0.2, 0.4)
TOKENS = 512  # of the text that is scored, and as many that importance is taken from
DRAWS = 8
LIMIT = math.log(1.01)  # of perplexity, that is no noticeable harm


def _point(share, taylor, error, random):
    mean, mean_error = scores.mean_error(random)
    return {
        "share": share,
        "loss": taylor,
        "loss_error": error,
        "random": mean,
        "random_error": mean_error,
        "draws": [float(loss) for loss in random],
    }


def _from_heads(found):
    """Of the other text: on the first one's own tokens its order looks too good."""
    pruning, points = found.get("pruning"), []
    if pruning is None or "other_loss" not in pruning["curves"]["taylor"][0]:
        return None
    at = lambda curve, share: next(p for p in curve if abs(p["share"] - share) < 1e-9)
    for share in MARKS:
        mine = at(pruning["curves"]["taylor"], share)
        random = [at(curve, share)["other_loss"] for curve in pruning["random"]]
        points.append(
            _point(share, mine["other_loss"], mine["other_loss_error"], random)
        )
    return {"heads": len(found["heads"]), "points": points}


def measure(context):
    taken = context.folders.take("heads.json", _from_heads)
    if taken:
        return taken
    model, ids = context.model, context.ids(2 * TOKENS)
    importance = ablation.taylor(
        model, heads.segments_of(model.prefix, model.prefix + ids[TOKENS:])
    )
    context.progress("Taylor importance")
    scored = ids[:TOKENS]
    before = ablation.losses(model, model.hidden(scored), scored)

    def change(order, share):
        edits = ablation.edits_of(order[: round(share * len(order))])
        hidden = ablation.run(model, scored, edits)
        return scores.mean_error(ablation.losses(model, hidden, scored) - before)

    every = [divmod(at, model.heads) for at in range(importance.size)]
    least = [every[at] for at in np.argsort(importance, axis=None, kind="stable")]
    points = []
    for share in MARKS:
        random = []
        for draw in range(DRAWS):
            rng = np.random.default_rng([context.seed, draw])
            random.append(
                change([every[i] for i in rng.permutation(len(every))], share)[0]
            )
        points.append(_point(share, *change(least, share), random))
        context.progress(f"{100 * share:.0f} % of heads taken away")
    return {"heads": len(every), "points": points}


def judge(ours):
    """The loss of text stands in for a task's: it can show the direction at most."""
    first = ours["points"][0]
    harmless = surely_above(-first["loss"], first["loss_error"], -LIMIT)
    better = all(
        surely_above(p["random"] - p["loss"], p["random_error"]) for p in ours["points"]
    )
    return DIRECTION if harmless or better else NOT_SEEN


def numbers(ours):
    found = []
    for point, published in zip(
        ours["points"], ("0 (WMT, BLEU)", "0 (BERT, accuracy)")
    ):
        share = f"{100 * point['share']:.0f} % of heads away"
        found.append(
            Number(
                f"{share}: change of loss, nats, the least important first",
                published,
                point["loss"],
                point["loss_error"],
            )
        )
        found.append(
            Number(
                f"{share}: in random orders",
                "-",
                point["random"],
                point["random_error"],
            )
        )
    return found


BARS = (
    Bar(
        name="pruning",
        title="20 % (40 %) of the heads can go without noticeable harm",
        source="Michel et al. 2019, arXiv:1905.10650, figure 3",
        rule="direction only: with the 20 % of the heads away that matter least by Taylor "
        "importance, perplexity is within 1 %, by 1.96 errors, or at 20 % and at 40 % that "
        "order loses less than random ones, by 1.96 errors of eight draws; never redone, "
        "as the published quantity is another",
        differences=(
            "published of a translator (20 %) and of BERT fine-tuned (40 %), by BLEU and "
            "accuracy; here of a language model, by the loss of text",
            "no task is trained: importance is that of text, in one pass",
        ),
        measure=measure,
        judge=judge,
        numbers=numbers,
        files=("heads.json",),
        needs_tokens=False,
    ),
)
