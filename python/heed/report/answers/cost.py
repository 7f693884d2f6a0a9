# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a cheaper attention is faster and keeps what a model can do."""

import math

from .words import answer, percent, with_error

QUADRATIC = "Can the quadratic cost be beaten without losing quality?"
LONG = 0.5  # of the model's time: attention's, where a text is long enough for a no
_QUADRATIC_RULE = (
    "A variant takes less time where it does alone, on exact attention's queries, keys "
    "and values, and within the model. "
    "Yes: one that does not choose by later tokens takes less time than exact "
    "attention and its verdict is kept. No: some take less time and all of these have "
    "lost text, recall or both, beyond their errors; one that does not choose by later "
    "tokens is kept and takes no less time, so that what keeps both was timed; none that "
    "has not lost lacks a time because it was refused; and the text is long enough for "
    "attention to be half of the model's time. Else undecided. Times are measured once."
)


def _shortly(row):
    share, task = row.get("worst_share"), ""
    if share is not None:
        left = f"{row['worst_task']} {percent(share)} left"
        task = f", {left if row['worst_tested'] else 'recall not tested'}"
    return (
        f"{row['spec']} ({row['kernel']['time_ratio']:.2f} of the time, KLD "
        f"{with_error(row['kld'], row['kld_error'], 4)}{task}, {row['verdict']})"
    )


def timed(eval_):
    """Variants with a time, a text and a verdict; kept caches have no time."""
    return [
        row
        for row in eval_["rows"]
        if row["spec"] != "exact"
        and row["kernel"]
        and row["kernel"]["time_ratio"] is not None
        and row["kld"] is not None
    ]


def _is_lost(row):
    return row["verdict"].endswith("lost")


def _exact_of(eval_):
    return next((row for row in eval_["rows"] if row["spec"] == "exact"), {})


def _faster(eval_, rows):
    """Those that take less time than exact attention, alone and within the model."""
    least = _exact_of(eval_).get("attention_seconds") or math.inf
    ratio = lambda row: row["kernel"] and row["kernel"]["time_ratio"]
    return [
        row
        for row in rows
        if ratio(row) is not None
        and ratio(row) < 1
        and row.get("attention_seconds", 0) < least
    ]


def _listed(rows):
    """Variants with their verdicts."""
    more = lambda row: ", choosing by later tokens" if row["ahead"] else ""
    told = lambda row: (
        "no verdict"
        if row["verdict"] == "none"
        else f"{row['verdict']}, recall not tested"
        if row.get("worst_tested") is False
        else row["verdict"]
    )
    return ", ".join(f"{row['spec']} ({told(row)}{more(row)})" for row in rows)


def _missing(eval_, rows, share):
    """What a no lacks, as parts of a sentence; share: of the model's time, or None."""
    found = []
    variants = [row for row in eval_["rows"] if row["spec"] != "exact"]
    faster = _faster(eval_, variants)  # also one without a text
    open_ = [row for row in faster if not _is_lost(row)]
    slower = [row for row in rows if row not in faster]
    refused = [row for row in variants if not row["kernel"] and not _is_lost(row)]
    if not faster:
        found.append("no variant takes less time")
    if open_:
        found.append(f"not all that take less time have lost: {_listed(open_)}")
    if not any(row["verdict"] == "kept" and not row["ahead"] for row in slower):
        found.append("no milder one that keeps both was timed")
    if refused:
        found.append(f"some that have not lost have no time: {_listed(refused)}")
    if share is None:
        found.append("the model's time is not there")
    elif share < LONG:
        found.append("the text is too short: attention is not half of the model's time")
    return found


def quadratic(eval_, sweep=None):
    """Whether a variant is faster and keeps text and recall, at the run's length."""
    if eval_ is None:
        return answer(QUADRATIC, "not measured", [], _QUADRATIC_RULE)
    rows = timed(eval_)
    faster = _faster(eval_, rows)
    kept = [row for row in faster if row["verdict"] == "kept" and not row["ahead"]]
    lost = [row for row in faster if _is_lost(row)]
    says = [
        f"At {eval_['run']['tokens']:,} tokens {len(faster)} of {len(rows)} variants "
        f"take less time than exact attention, alone and within the model; {len(lost)} of these have lost text, "
        "recall or both."
    ]
    exact = _exact_of(eval_)
    share = None
    if exact.get("model_seconds"):
        share = exact["attention_seconds"] / exact["model_seconds"]
    if kept:
        word = "yes"
        best = min(kept, key=lambda row: row["kernel"]["time_ratio"])
        says.append(f"The fastest that keeps both: {_shortly(best)}.")
    else:
        missing = _missing(eval_, rows, share)
        word = "undecided" if missing else "no"
        if missing:
            says.append(f"Not decided: {'; '.join(missing)}.")
        least = min(faster, key=lambda row: row["kld"], default=None)
        if least:
            says.append(f"Of the faster, the nearest on text: {_shortly(least)}.")
        able = [row for row in faster if row.get("worst_tested")]
        most = max(able, key=lambda row: row["worst_share"], default=None)
        if most and most is not least:
            says.append(f"The one that recalls most: {_shortly(most)}.")
    if share is not None:
        says.append(f"Attention is {percent(share)} of the model's time there.")
    if sweep:
        says.append(crossing(sweep))
    return answer(QUADRATIC, word, says, _QUADRATIC_RULE)


def crossings(comparison):
    """[(length, row)] of a comparison's sweep: where rows begin to pay, by length."""
    return sorted(
        (
            (row["efficiency_length"], row)
            for row in comparison["sweep"]["rows"]
            if row["efficiency"] == "crosses"
        ),
        key=lambda pair: pair[0],
    )


def crossing(comparison):
    """A sentence: from what length on something pays."""
    at = comparison["run"].get("at")
    held = f"Held to {at}" if at else "By themselves"
    first, last = comparison["sweep"]["tokens"][0], comparison["sweep"]["tokens"][-1]
    found = crossings(comparison)
    if not found:
        return f"{held}, no row crosses exact attention's time from {first:,} to {last:,} tokens."
    ends_of = lambda row: [row.get(f"efficiency_{end}") for end in ("shortest", "longest")]
    closed = [pair for pair in found if None not in ends_of(pair[1])]
    length, row = (closed or found)[0]
    ends = ends_of(row)
    between = "" if None in ends else " ({:,.0f} to {:,.0f})".format(*ends)
    return (
        f"{held}, the first to pay crosses exact attention's time at {length:,.0f} tokens"
        f"{between}: {row['name']} ({len(found)} of {len(comparison['sweep']['rows']) - 1} rows "
        f"cross from {first:,} to {last:,})."
    )
