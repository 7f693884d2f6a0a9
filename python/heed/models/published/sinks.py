# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""StreamingLLM: a window that loses the first tokens collapses; four bring it back."""

import math

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

WINDOWS = (512, 1024)
SINKS = (0, 1, 4, 8)
RECOVERED = math.log(1.1)  # of the perplexity's ratio to exact attention's


def _from_eval(found):
    """Of a run of `heed eval` that has a window of 512 or more without and with sinks."""
    rows = {row["spec"]: row for row in found["rows"] if not row["refused"]}
    text = next(iter(found["run"]["texts"]))
    settings = []
    for window in WINDOWS:
        lm = {
            sink: rows[f"window_sink:window={window}:sink={sink}"]["lm"][text]
            for sink in SINKS
            if f"window_sink:window={window}:sink={sink}" in rows
        }
        if 0 not in lm or 4 not in lm or found["run"]["tokens"] < 2 * window:
            continue
        for sink, numbers in lm.items():
            settings.append(
                {
                    "window": window,
                    "sink": sink,
                    "ln_ratio": numbers["ln_ratio"],
                    "ln_ratio_error": numbers["ln_ratio_error"],
                    "over_four": numbers["ln_ratio"] - lm[4]["ln_ratio"],
                    # Pairs of tokens are not there; without them it is larger.
                    "over_four_error": together(
                        numbers["ln_ratio_error"], lm[4]["ln_ratio_error"]
                    ),
                }
            )
    return {"settings": settings} if settings else None


def measure(context):
    taken = context.folders.take("eval.json", _from_eval)
    if taken:
        return taken
    windows = [window for window in WINDOWS if 2 * window <= context.tokens]
    if not windows:
        raise Unable(f"a window of {WINDOWS[0]} needs --tokens {2 * WINDOWS[0]}")
    exact, settings = context.losses("exact"), []
    for window in windows:
        specs = {sink: f"window_sink:window={window}:sink={sink}" for sink in SINKS}
        for sink, spec in specs.items():
            losses = context.losses(spec)
            ratio, error = scores.mean_error(losses - exact)
            over, over_error = scores.mean_error(losses - context.losses(specs[4]))
            settings.append(
                {
                    "window": window,
                    "sink": sink,
                    "ln_ratio": ratio,
                    "ln_ratio_error": error,
                    "over_four": over,
                    "over_four_error": over_error,
                }
            )
    ppl = math.exp(scores.mean_error(exact)[0])
    return {"exact_ppl": ppl, "tokens": len(exact), "settings": settings}


def judge(ours):
    none = [s for s in ours["settings"] if s["sink"] == 0]
    four = [s for s in ours["settings"] if s["sink"] == 4]
    if not all(surely_above(s["over_four"], s["over_four_error"]) for s in none):
        return NOT_SEEN
    within = all(
        surely_above(-s["ln_ratio"], s["ln_ratio_error"], -RECOVERED) for s in four
    )
    return REDONE if within else DIRECTION


def _ratio(what, published, ln, error):
    ratio = math.exp(min(ln, 700))
    return Number(what, published, ratio, ratio * error)


def numbers(ours):
    found = []
    for s in ours["settings"]:
        window = f"window {s['window']:,}"
        if s["sink"] == 0:
            what = f"{window}: perplexity without sinks over that with 4"
            published = "955 (13B), 1.54 (160M)"
            found.append(_ratio(what, published, s["over_four"], s["over_four_error"]))
        if s["sink"] == 4:
            what = f"{window}: with 4 sinks over exact attention's"
            found.append(_ratio(what, "0.99", s["ln_ratio"], s["ln_ratio_error"]))
        if s["sink"] == 8:
            what = f"{window}: with 8 sinks over that with 4"
            published = "0.995 (7B, window 4,096)"
            found.append(_ratio(what, published, s["over_four"], s["over_four_error"]))
    return found


BARS = (
    Bar(
        name="sinks",
        title="A window without the first tokens collapses; four of them bring it back",
        source="Xiao et al. 2024 (StreamingLLM), arXiv:2309.17453, tables 1 to 3",
        rule="redone: at each window of 512 or more, perplexity without sinks is above "
        "that with 4 by 1.96 errors, and with 4 it is, by as much, within 10 % of exact "
        "attention's; direction only: the first alone; the factor is shown and not asked "
        "for, as it is the model's",
        differences=(
            "the published models are 160M to 13B on PG-19, with cached text of 65K tokens",
            "positions are the text's: the paper numbers those of the cache anew",
            "exact attention is the comparison, where the paper has a window computed anew",
        ),
        measure=measure,
        judge=judge,
        numbers=numbers,
        files=("eval.json",),
    ),
)
