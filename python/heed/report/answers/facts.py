# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Whether attention retrieves from the context or stores facts, and what MLPs do."""

import math

from .words import answer, bound_of, freedom_of, percent, with_error

FACTS = "Does attention store or retrieve?"
_FACTS_RULE = (
    "An intervention takes a share of the margin of answers that stand in the context, "
    "and a share of that of known facts. Where the two differ by more than their "
    "errors, at a twentieth for all interventions together (Bonferroni; Student's "
    "distribution, by the documents that there are), it tells, unless it takes all of "
    "both: then the model is broken there. "
    "Attention retrieves where some of its interventions take more of the context's "
    "answers and none more of the facts; it stores where it is the other way round; "
    "both where there are both; else undecided. The same for MLPs. Errors are over "
    "documents, of the changes: the margins without an intervention are taken as known."
)


def kind(name):
    """What a row of `heed facts` intervenes in, by its name."""
    if name.startswith("MLP"):
        return "MLPs"
    return "random heads" if "random heads" in name else "attention"


def effects(facts):
    """Of each intervention: the shares of the margins that it takes, and its side.

    A list of dicts: name, kind, needles, facts (shares taken, with _error), side:
    "context" where it takes more of the context's answers, "facts", or "undecided".
    """
    base = facts["baseline"]
    tried = [row for row in facts["rows"] if kind(row["name"]) != "random heads"]
    counts = [base.get(f"{what}_documents") for what in ("needles", "facts")]
    found = []
    for row in facts["rows"]:
        effect = {"name": row["name"], "kind": kind(row["name"])}
        for what in ("needles", "facts"):
            size = base[f"{what}_margin"]
            effect[what] = -row[f"{what}_margin"] / size
            error = row[f"{what}_margin_error"]
            effect[f"{what}_error"] = None if error is None else error / size
        errors = (effect["needles_error"], effect["facts_error"])
        gap = effect["needles"] - effect["facts"]
        effect["side"] = "undecided"
        broken = min(effect["needles"], effect["facts"]) >= 1
        if None not in errors and not broken:
            bound = _bound(len(tried), errors, counts) * math.hypot(*errors)
            if abs(gap) > bound:
                effect["side"] = "context" if gap > 0 else "facts"
        found.append(effect)
    return found


def _bound(tried, errors, counts):
    """Errors beyond which one of so many interventions tells; counts: of documents."""
    known = None not in counts and min(counts) > 1
    return bound_of(tried, freedom_of(errors, counts) if known else None)


def _part(found, part):
    """(word, sentence) of attention or MLPs."""
    these = [effect for effect in found if effect["kind"] == part]
    sides = {
        side: [e for e in these if e["side"] == side] for side in ("context", "facts")
    }
    context, facts = (len(sides[side]) for side in ("context", "facts"))
    word = {
        (True, False): "retrieve",
        (False, True): "store",
        (True, True): "do both",
        (False, False): "undecided",
    }[context > 0, facts > 0]
    sentence = (
        f"Of {len(these)} interventions in {part}, {context} take more of the context's "
        f"answers than of the facts and {facts} more of the facts"
    )
    examples = [
        max(sides[side], key=lambda e: abs(e["needles"] - e["facts"]))
        for side in ("context", "facts")
        if sides[side]
    ]
    told = "; ".join(
        f"{e['name']} takes {percent(e['needles'])} of the context's and "
        f"{percent(e['facts'])} of the facts'"
        for e in examples
    )
    return word, sentence + (f": {told}." if told else ".")


def store_or_retrieve(facts):
    """What attention and MLPs hold, by what their loss takes away."""
    if facts is None:
        return answer(FACTS, "not measured", [], _FACTS_RULE)
    base = facts["baseline"]
    if min(base["needles_margin"], base["facts_margin"]) <= 0:
        says = ["The model does not find the needles or does not know the facts."]
        return answer(FACTS, "undecided", says, _FACTS_RULE)
    found = effects(facts)
    (attention, first), (mlps, second) = (
        _part(found, p) for p in ("attention", "MLPs")
    )
    says = [first, second]
    heads = [e for e in found if "retrieval heads" in e["name"]]
    random = [e for e in found if e["kind"] == "random heads"]
    if heads and random:
        said = lambda e: (
            f"{with_error(e['needles'], e['needles_error'])} of the needles' margin and "
            f"{with_error(e['facts'], e['facts_error'])} of the facts'"
        )
        says.append(
            f"{heads[0]['name']} take {said(heads[0])}; "
            f"{random[0]['name']} {said(random[0])}."
        )
    verb = {"retrieve": "retrieves", "store": "stores", "do both": "does both"}
    word = (
        "undecided"
        if attention == mlps == "undecided"
        else f"attention {verb.get(attention, attention)}, MLPs {mlps}"
    )
    return answer(FACTS, word, says, _FACTS_RULE)
