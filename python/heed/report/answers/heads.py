# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What share of a model's heads can go, and what share cannot."""

import math

from .words import answer, bound_of, percent, with_error

COST = math.log(1.01)  # of a loss in nats: one hundredth of perplexity

HEADS = "How many heads are needed?"
_HEADS_RULE = (
    "The largest share of heads tried that some order takes away at the cost of at most "
    "1 % of perplexity, beyond its error, is not needed for the text; a share that costs "
    "more in every order, beyond its error, cannot go by any of them. Else undecided. "
    "What goes gives zeros. Errors are at a twentieth "
    "for all orders and shares together (Bonferroni). Where there "
    "are two texts, orders are made on one and judged on the other. Needles are reported beside it: they need "
    "other heads."
)


def curves(heads):
    """{name: curve} of all orders, random ones numbered."""
    pruning = heads.get("pruning") or {"curves": {}, "random": []}
    random = {f"random {i}": c for i, c in enumerate(pruning["random"], 1)}
    return {**pruning["curves"], **random}


def _loss(point):
    """(change, its error): of the text that orders are not made on, where there is one."""
    name = "other_loss" if "other_loss" in point else "loss"
    return point[name], point[f"{name}_error"]


def trained(head_count):
    """A sentence: with how many heads models of one size lose least."""
    rows = head_count["rows"]
    best = min(rows, key=lambda row: row["loss"])
    changes = ", ".join(
        f"{row['heads']}: {with_error(row['change'], row['change_error'], 3)}"
        for row in rows
        if row is not best
    )
    alone = " One seed: without errors." if best["loss_error"] is None else ""
    return (
        f"Trained from the start at one size, {best['heads']} heads lose least, "
        f"{with_error(best['loss'], best['loss_error'], 3)} nats; by how much more "
        f"others lose: {changes}.{alone}"
    )


def heads_needed(heads, head_count=None):
    """What share of heads can go, and what share cannot."""
    says = [trained(head_count)] if head_count else []
    if heads is None:
        return answer(HEADS, "not measured", says, _HEADS_RULE)
    says = _what_heads_do(heads) + says
    every = curves(heads)
    if not every:
        return answer(HEADS, "not measured", says, _HEADS_RULE)
    # A share of few heads can be none of them.
    points = [(p, name) for name, curve in every.items() for p in curve if p["heads"]]
    if not points:
        return answer(HEADS, "not measured", says, _HEADS_RULE)
    bound = bound_of(len(points))

    def side(point):
        """-1 where it surely costs no more than may be, 1 where more, 0 else."""
        change, error = _loss(point)
        if abs(change - COST) < bound * error:
            return 0
        return 1 if change > COST else -1

    free = [(p, name) for p, name in points if side(p) < 0]
    shares = sorted({p["share"] for p, _ in points})
    dear = [
        share
        for share in shares
        if all(side(p) > 0 for p, _ in points if p["share"] == share)
    ]
    before = with_error(heads["pruning"]["margin"], heads["pruning"]["margin_error"])
    if free:
        point, name = max(free, key=lambda pair: (pair[0]["share"], -_loss(pair[0])[0]))
        word = f"{percent(point['share'])} can go"
        says.append(
            f"Without {percent(point['share'])} of them, {point['heads']} heads in the "
            f"order {name}, the loss changes by "
            f"{with_error(*_loss(point), 3)} nats and the needles' "
            f"margin goes from {before} to "
            f"{with_error(point['margin'], point['margin_error'])}."
        )
    elif dear and dear[0] == shares[0]:
        word = f"no {percent(shares[0])} that was tried can go"
    else:
        word = "undecided"
    if dear:
        least = min(
            (pair for pair in points if pair[0]["share"] == dear[0]),
            key=lambda pair: _loss(pair[0])[0],
        )
        says.append(
            f"{percent(dear[0])} cannot go: the best of {len(every)} orders, {least[1]}, "
            f"costs {with_error(*_loss(least[0]), 3)} nats."
        )
    return answer(HEADS, word, says, _HEADS_RULE)


def _what_heads_do(heads):
    count = len(heads["heads"])
    found = sum(head["retrieval"] >= 0.1 for head in heads["heads"])
    says = [
        f"Of {count} heads {found} ({100 * found / count:.1f} %) have a retrieval score "
        "of 0.1 or more."
    ]
    for pair in heads.get("rankings", []):
        if pair["b"] == f"{pair['a']}, other text" and pair["rho"] is not None:
            says.append(
                f"Ranked by {pair['a']} on two texts, heads agree by a rank correlation "
                f"of {pair['rho']:+.2f}."
            )
    if "ablation" in heads:
        alone = heads["ablation"]
        says.append(
            f"Switched off alone, {alone['significant']} change the loss by 1.96 errors, "
            f"where chance would say {alone['by_chance']:.1f}, and "
            f"{alone['beyond_3.5_errors']} by 3.5."
        )
    return says
