# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Three questions of a model, answered by rules that were there before the numbers.

Each answer is a dict: question, word (one, or a few), says (sentences with numbers
of the results alone) and rule. "undecided" stands where bounds do not decide, "not
measured" where a result is missing.
"""

import math
from statistics import NormalDist

COST = math.log(1.01)  # of a loss in nats: one hundredth of perplexity


def bound_of(count):
    """Standard errors that one of so many numbers passes by chance once in twenty."""
    return NormalDist().inv_cdf(1 - 0.025 / max(count, 1))


def percent(share):
    return f"{100 * share:.0f} %"


def with_error(value, error, digits=2):
    text = f"{value:.{digits}f}"
    return text if error is None else f"{text} ± {error:.{digits}f}"


def _answer(question, word, says, rule):
    return {"question": question, "word": word, "says": says, "rule": rule}


QUADRATIC = "Can the quadratic cost be beaten without losing quality?"
_QUADRATIC_RULE = (
    "Yes: a variant that does not choose by later tokens takes less time than exact "
    "attention and its verdict is kept. No: every variant that takes less time has lost "
    "text, recall or both, beyond its errors. Else undecided. Times are measured once."
)


def _shortly(row):
    share = row.get("worst_share")
    task = "" if share is None else f", {row['worst_task']} {percent(share)}"
    return (
        f"{row['spec']} ({row['kernel']['time_ratio']:.2f} of the time, KLD "
        f"{with_error(row['kld'], row['kld_error'], 4)}{task} left, {row['verdict']})"
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


def quadratic(eval_, sweep=None):
    """Whether a variant is faster and keeps text and recall, at the run's length."""
    if eval_ is None:
        return _answer(QUADRATIC, "not measured", [], _QUADRATIC_RULE)
    rows = timed(eval_)
    faster = [row for row in rows if row["kernel"]["time_ratio"] < 1]
    kept = [row for row in faster if row["verdict"] == "kept" and not row["ahead"]]
    lost = [row for row in faster if row["verdict"].endswith("lost")]
    says = [
        f"At {eval_['run']['tokens']:,} tokens {len(faster)} of {len(rows)} variants "
        f"take less time than exact attention; {len(lost)} of these have lost text, "
        "recall or both."
    ]
    if kept:
        word = "yes"
        best = min(kept, key=lambda row: row["kernel"]["time_ratio"])
        says.append(f"The fastest that keeps both: {_shortly(best)}.")
    else:
        word = "no" if rows and len(lost) == len(faster) else "undecided"
        least = min(faster, key=lambda row: row["kld"], default=None)
        if least:
            says.append(f"Of them the nearest to exact on text: {_shortly(least)}.")
        able = [row for row in faster if row.get("worst_share") is not None]
        most = max(able, key=lambda row: row["worst_share"], default=None)
        if most and most is not least:
            says.append(f"The one that recalls most: {_shortly(most)}.")
    exact = next((row for row in eval_["rows"] if row["spec"] == "exact"), {})
    if exact.get("model_seconds"):
        share = exact["attention_seconds"] / exact["model_seconds"]
        says.append(f"Attention is {percent(share)} of the model's time there.")
    if sweep:
        says.append(crossing(sweep))
    return _answer(QUADRATIC, word, says, _QUADRATIC_RULE)


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
    length, row = found[0]
    return (
        f"{held}, the first to pay crosses exact attention's time at {length:,.0f} tokens: "
        f"{row['name']} ({len(found)} of {len(comparison['sweep']['rows']) - 1} rows "
        f"cross from {first:,} to {last:,})."
    )


HEADS = "How many heads are needed?"
_HEADS_RULE = (
    "The largest share of heads tried that some order takes away at the cost of at most "
    "1 % of perplexity, beyond its error, is not needed for the text; a share that costs "
    "more in every order, beyond its error, is. Else undecided. Errors are at a twentieth "
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
        return _answer(HEADS, "not measured", says, _HEADS_RULE)
    says = _what_heads_do(heads) + says
    every = curves(heads)
    if not every:
        return _answer(HEADS, "not measured", says, _HEADS_RULE)
    # A share of few heads can be none of them.
    points = [(p, name) for name, curve in every.items() for p in curve if p["heads"]]
    if not points:
        return _answer(HEADS, "not measured", says, _HEADS_RULE)
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
        word = f"more than {percent(1 - shares[0])}"
    else:
        word = "undecided"
    if dear:
        least = min(
            (pair for pair in points if pair[0]["share"] == dear[0]),
            key=lambda pair: _loss(pair[0])[0],
        )
        says.append(
            f"{percent(dear[0])} cannot: the best of {len(every)} orders, {least[1]}, "
            f"costs {with_error(*_loss(least[0]), 3)} nats."
        )
    return _answer(HEADS, word, says, _HEADS_RULE)


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


FACTS = "Does attention store or retrieve?"
_FACTS_RULE = (
    "An intervention takes a share of the margin of answers that stand in the context, "
    "and a share of that of known facts. Where the two differ by more than their "
    "errors, at a twentieth for all interventions together (Bonferroni), it tells. "
    "Attention retrieves where some of its interventions take more of the context's "
    "answers and none more of the facts; it stores where it is the other way round; "
    "both where there are both; else undecided. The same for MLPs. Errors are over "
    "documents, of which there are few: they are rough."
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
    bound = bound_of(len(tried))
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
        if None not in errors and abs(gap) > bound * math.hypot(*errors):
            effect["side"] = "context" if gap > 0 else "facts"
        found.append(effect)
    return found


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
    base = (facts or {}).get("baseline", {})
    if facts is None or min(base["needles_margin"], base["facts_margin"]) <= 0:
        return _answer(FACTS, "not measured", [], _FACTS_RULE)
    found = effects(facts)
    (attention, first), (mlps, second) = (
        _part(found, p) for p in ("attention", "MLPs")
    )
    says = [first, second]
    heads = [e for e in found if "retrieval heads" in e["name"]]
    random = [e for e in found if e["kind"] == "random heads"]
    if heads and random:
        said = lambda e: with_error(e["needles"], e["needles_error"])
        says.append(
            f"{heads[0]['name']} take {said(heads[0])} of the needles' margin, "
            f"{random[0]['name']} {said(random[0])}."
        )
    verb = {"retrieve": "retrieves", "store": "stores", "do both": "does both"}
    word = (
        "undecided"
        if attention == mlps == "undecided"
        else f"attention {verb.get(attention, attention)}, MLPs {mlps}"
    )
    return _answer(FACTS, word, says, _FACTS_RULE)


def all_of(results):
    """The three answers; results: by name, as inputs.read() gives them."""
    return [
        quadratic(results.get("eval"), results.get("lengths")),
        heads_needed(results.get("heads"), results.get("head_count")),
        store_or_retrieve(results.get("facts")),
    ]
