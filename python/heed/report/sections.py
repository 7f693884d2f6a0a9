# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What stands as words and tables on the page of `heed report`."""

import html

from heed.models import rows
from heed.report import answers, kinds


def table(head, lines):
    """HTML of a table; cells that are tuples are (text, attributes)."""
    cell = lambda of: of if isinstance(of, tuple) else (of, "")
    row = lambda line, tag: "".join(
        f"<{tag}{more}>{html.escape(str(text))}</{tag}>"
        for text, more in map(cell, line)
    )
    body = "".join(f"<tr>{row(line, 'td')}</tr>" for line in lines)
    return (
        f"<table><thead><tr>{row(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"
    )


def scrolled(head, lines):
    return f'<div class="scroll">{table(head, lines)}</div>' if lines else ""


def opened(word):
    """A word as a sentence begins with it."""
    return word[:1].upper() + word[1:]


def answered(found):
    """The first paragraphs: a question each, its answer in numbers, and the rule."""
    parts = []
    for answer in found:
        says = " ".join(answer["says"])
        parts.append(
            f"<div><b>{html.escape(answer['question'])} "
            f"{html.escape(opened(answer['word']))}.</b> {html.escape(says)} "
            f"<details><summary><small>by this rule</small></summary>"
            f"<small>{html.escape(answer['rule'])}</small></details></div>"
        )
    return "".join(parts)


def crossings(comparison):
    """From what length rows pay, with the interval that the times' spread leaves."""
    if comparison is None:
        return ""
    ends = lambda row: " to ".join(
        f"{row[end]:,.0f}" if row.get(end) else "?"
        for end in ("efficiency_shortest", "efficiency_longest")
    )
    lines = [
        [row["name"], f"{length:,.0f}", ends(row)]
        for length, row in answers.crossings(comparison)
    ]
    others = [
        f"{row['name']}: {row['efficiency']}"
        for row in comparison["sweep"]["rows"]
        if row["efficiency"] not in ("crosses", "none")
    ]
    at = comparison["run"].get("at")
    held = f"Every row is held to {at}. " if at else ""
    note = f"{held}{'Of the others, whether they pay: ' if others else ''}{'; '.join(others)}"
    return (
        f"<p>{html.escape(answers.crossing(comparison))}</p>"
        + scrolled(["row", "pays from, tokens", "by the spread of times"], lines)
        + f'<p class="note">{html.escape(note)}{"." if others else ""}</p>'
    )


def _shade(margin):
    """Green where the right answer leads, red where another does."""
    strength = min(abs(margin) / 4, 1)
    colour = "0, 158, 115" if margin > 0 else "213, 94, 0"
    return f' style="background: rgba({colour}, {0.15 + 0.6 * strength:.2f})"'


def grids(eval_):
    """Margins by length and depth: a table a variant, for each task."""
    if eval_ is None:
        return ""
    names = list(dict.fromkeys(n for row in eval_["rows"] for n in row["tasks"]))
    parts = []
    for task in names:
        figures = []
        for row in eval_["rows"]:
            cells = row["tasks"].get(task, {}).get("by_depth")
            if not cells:
                continue
            margin = {(tokens, fifth): mean for tokens, fifth, mean, _ in cells}
            lines = []
            for tokens in sorted({tokens for tokens, _ in margin}):
                found = [margin.get((tokens, fifth)) for fifth in range(5)]
                shown = ["" if m is None else (f"{m:+.1f}", _shade(m)) for m in found]
                lines.append([f"{tokens:,}", *shown])
            head = ["tokens", *(f"{20 * i}-{20 * i + 20} %" for i in range(5))]
            figures.append(
                f"<figure><figcaption>{html.escape(row['spec'])}</figcaption>"
                f"{table(head, lines)}</figure>"
            )
        if figures:
            parts.append(
                f"<h3>{html.escape(task)}</h3>"
                f"<div class='grids'>{''.join(figures)}</div>"
            )
    return "".join(parts)


def predictors(eval_, layers):
    """Rank correlations, over variants and over variants in one layer each."""
    found = (eval_ or {}).get("predictions", [])
    by_layer = (layers or {}).get("layer_predictions", [])
    lines = [
        [p["predictor"], p["harm"], f"{p['rho']:+.2f}", f"{p['variants']} variants"]
        for p in found
    ] + [
        [
            f"{p['predictor']} of a layer",
            p["harm"],
            f"{p['rho']:+.2f}",
            f"{p['points']} layers of {p['variants']} variants",
        ]
        for p in by_layer
    ]
    return scrolled(["number of attention", "harm", "rank correlation", "over"], lines)


def variants(eval_):
    """The table that `heed eval` prints; what says nothing is grey."""
    if eval_ is None:
        return ""
    heads = rows.columns(eval_["rows"])
    grey = lambda text: (text, ' class="unable"' if text.startswith("(") else "")
    lines = [[grey(str(read(row))) for _, read in heads] for row in eval_["rows"]]
    return scrolled([name for name, _ in heads], lines)


def other_text(heads):
    curves = answers.curves(heads or {})
    point = next(iter(curves.values()))[0] if curves else {}
    if "other_loss" in point:
        return "Orders are made on one text, and the loss is another's."
    return "Orders are made on the text whose loss this is."


def rankings(heads):
    """How far rankings of heads agree, between texts and between criteria."""
    lines = [
        [
            pair["a"],
            pair["b"],
            "-" if pair["rho"] is None else f"{pair['rho']:+.2f}",
            f"{pair['shared']} of {pair['top']}",
            f"{pair['by_chance']:.1f}",
        ]
        for pair in (heads or {}).get("rankings", [])
    ]
    head = ["heads by", "and by", "rank correlation", "shared highest", "by chance"]
    return scrolled(head, lines)


def _is_within(name, eval_):
    """Whether what a result of this name shows already stands in eval's."""
    if eval_ is None:
        return False
    if name == "layers":
        return bool(eval_.get("layer_points"))
    return name == "needles" and any(
        task.get("by_depth") for row in eval_["rows"] for task in row["tasks"].values()
    )


def missing(results):
    """The kinds of results that are not there, nor within eval's."""
    return [
        kind
        for name, kind in kinds.KINDS.items()
        if name not in results and not _is_within(name, results.get("eval"))
    ]


def _about(name, result):
    """{what: text} of how a result was made."""
    if name in kinds.COMPARISONS:
        return {
            "command": result["command"],
            "cpu": result["environment"]["cpu"],
            "time": result.get("began", ""),
        }
    return kinds.KINDS[name].about(result)


def footer(results, command):
    """Commands that do all of it again, and what they ran on."""
    made = {name: _about(name, result) for name, result in results.items()}
    commands = [about["command"] for about in made.values()]
    commands += [command] if command else []
    pairs = []
    for name, about in made.items():
        of = [about.get("cpu")]
        if "threads" in about:
            of.append(f"{about['threads']} threads")
        if "where" in about:
            of.append(f"variants in {about['where']}")
        of.append(about.get("time"))
        if "versions" in about:
            of.append(", ".join(f"{k} {v}" for k, v in about["versions"].items()))
        pairs.append((name, "; ".join(part for part in of if part)))
    first = next((about for about in made.values() if "model_sha256" in about), None)
    if first:
        pairs.insert(0, ("Model", f"{first['model']}, SHA-256 {first['model_sha256']}"))
    texts = {}  # by SHA-256
    for about in made.values():
        for of in about.get("texts", {}).values():
            texts[of["sha256"]] = of["label"]
        if "text" in about and "text_sha256" in about:
            texts[about["text_sha256"]] = about["text"]
    pairs += [("Text", f"{label}, SHA-256 {sha256}") for sha256, label in texts.items()]
    shown = "".join(
        f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in pairs
    )
    lines = html.escape("\n".join(commands))
    return f'<div class="scroll"><pre>{lines}</pre></div><dl>{shown}</dl>'
