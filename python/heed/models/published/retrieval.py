# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Wu et al.: few heads retrieve, and without them what stands in the context is lost."""

import math

import numpy as np

from heed.models import ablation, facts, heads, scores
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

SCORE = 0.1
FEWEST, MOST, FEW = 0.021, 0.062, 0.1  # shares: the published range, and what is few
MASKED = 30 / 1024  # of the heads: 30 of Llama-2-7B's
LENGTH, CHOSEN_ON, ASKED = 512, 3, 4  # tokens of a document, and documents
DRAWS = 8


def _counts(context):
    """Of the second half of the text: heads are not chosen by what is asked."""
    if "retrieval" not in context.found:
        documents = context.needles(CHOSEN_ON, LENGTH, 1)
        context.found["retrieval"] = heads.retrieval_counts(context.model, documents)
        context.progress("retrieval scores")
    return context.found["retrieval"]


def _share(values):
    share = float(np.mean(np.asarray(values) >= SCORE))
    error = math.sqrt(share * (1 - share) / len(values))
    never = float(np.mean(np.asarray(values) == 0))
    return {"heads": len(values), "share": share, "share_error": error, "never": never}


def measure_share(context):
    read = lambda found: _share([head["retrieval"] for head in found["heads"]])
    taken = context.folders.take("heads.json", read)
    return taken or _share(_counts(context).ravel())


def judge_share(ours):
    if FEWEST <= ours["share"] <= MOST:
        return REDONE
    return DIRECTION if 0 < ours["share"] <= FEW else NOT_SEEN


def numbers_share(ours):
    return [
        Number(
            f"share of heads with a retrieval score of {SCORE} or more",
            "0.021 to 0.062",
            ours["share"],
            ours["share_error"],
        ),
        Number("share of heads that never retrieve", "0.49 to 0.73", ours["never"]),
    ]


def _from_facts(found):
    rows = {row["name"]: row for row in found["rows"] if "heads_off" in row}
    (off,) = [row for name, row in rows.items() if "retrieval" in name]
    (others,) = [row for name, row in rows.items() if "random" in name]
    base = found["baseline"]
    if base["needles_margin"] <= 0:
        return None  # the model does not find needles: measure_masked() says it
    return {
        "masked": off["heads_off"],
        "accuracy": base["needles_right"] / base["needles"],
        "change": off["needles_margin"],
        "change_error": off["needles_margin_error"],
        "random": others["needles_margin"],
        "random_error": others["needles_margin_error"],
        "draws": [draw["needles_margin"] for draw in found["draws"]],
    }


def measure_masked(context):
    taken = context.folders.take("facts.json", _from_facts)
    if taken:
        return taken
    model, documents = context.model, context.needles(ASKED, LENGTH, 0)
    counts = _counts(context)
    order = np.argsort(-counts, axis=None, kind="stable")
    masked = max(1, round(MASKED * counts.size))
    chosen = [divmod(int(at), model.heads) for at in order[:masked]]

    def items(off):
        edits = ablation.edits_of(off)
        forward = lambda _, document: ablation.run(model, document.ids, edits)
        return list(scores.scored(documents, forward, model.log_probs))

    before = items([])
    summary = scores.task_summary(before)
    if not scores.can_do(summary):
        raise Unable(
            f"the model cannot do the needle: {100 * summary['accuracy']:.0f} % right, "
            f"chance {100 * summary['chance']:.0f} %"
        )
    was = np.array([item["margin"] for item in before])
    of = [item["document"] for item in before]
    lost = lambda off: np.array([item["margin"] for item in items(off)]) - was
    change, change_error = scores.clustered(lost(chosen), of)
    context.progress(f"{masked} retrieval heads masked")
    draws = []
    for draw in range(DRAWS):
        rng = np.random.default_rng([context.seed, draw])
        others = facts.drawn_like(chosen, model.layers, model.heads, rng)
        draws.append(float(lost(others).mean()))
        context.progress(f"random heads masked, draw {draw + 1}")
    random, random_error = scores.mean_error(draws)
    return {
        "masked": masked,
        "chosen": chosen,
        "accuracy": summary["accuracy"],
        "change": change,
        "change_error": change_error,
        "random": random,
        "random_error": random_error,
        "draws": draws,
    }


def judge_masked(ours):
    """The margin stands in for found answers: it can show the direction at most."""
    less = ours["random"] - ours["change"]
    surely = surely_above(less, together(ours["change_error"], ours["random_error"]))
    return DIRECTION if surely and ours["change"] < min(ours["draws"]) else NOT_SEEN


def numbers_masked(ours):
    return [
        Number(
            f"change of the needle's margin, nats, without {ours['masked']} retrieval heads",
            "found no more (30 heads)",
            ours["change"],
            ours["change_error"],
        ),
        Number(
            "without as many random heads of the same layers",
            "found as before",
            ours["random"],
            ours["random_error"],
        ),
    ]


_SOURCE = "Wu et al. 2024, arXiv:2404.15574"
_SMALL = "published models have 6B parameters and more, and contexts of 50K tokens"

BARS = (
    Bar(
        name="retrieval_share",
        title="Few heads retrieve",
        source=f"{_SOURCE}; shares by the scores of its repository",
        rule="redone: the share of heads with a score of 0.1 or more lies in the published "
        "range, 2.1 to 6.2 %; direction only: there are some, and no more than 10 %",
        differences=(
            _SMALL,
            "a head is scored where the answer is said in words of one document each, "
            "not while text is generated",
        ),
        measure=measure_share,
        judge=judge_share,
        numbers=numbers_share,
        files=("heads.json",),
        needs_tokens=False,
    ),
    Bar(
        name="retrieval_masked",
        title="Without retrieval heads the needle is lost, without random heads it is not",
        source=_SOURCE,
        rule="direction only: without the retrieval heads the needle's margin falls below "
        "that without random heads, by 1.96 errors of documents and draws, and below each "
        "of eight draws; never redone, as the published quantity is another",
        differences=(
            _SMALL,
            "the margin of the right word over the best of seven others is asked for, not "
            "a generated answer",
        ),
        measure=measure_masked,
        judge=judge_masked,
        numbers=numbers_masked,
        files=("facts.json",),
        needs_tokens=False,
    ),
)
