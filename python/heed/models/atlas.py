# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The page of `heed heads`: a cell a head with its attention map, and the curves of
pruning."""

import html
import json
import os
import pathlib
import re

from heed.models import head_scores, page as pages
from heed.models.errors import InputError

COLOURS = {
    "previous token": "#0072b2",
    "duplicate": "#56b4e9",
    "induction": "#d55e00",
    "retrieval": "#e69f00",
    "sink": "#999999",
    "local": "#009e73",
    "broad": "#cc79a7",
    "mixed": "#dddddd",
}


def _cell(head, has_map):
    numbers = "\n".join(
        f"{name} {value:.4g}"
        for name, value in head.items()
        if name not in ("layer", "head", "type")
    )
    title = html.escape(f"{head['layer']}.{head['head']}: {head['type']}\n{numbers}")
    # What can be pressed can be reached by the keyboard, too.
    pressed = ' role="button" tabindex="0"' if has_map else ""
    name = f"{head['layer']}.{head['head']}"
    return (
        f'<td id="head-{name}" style="background: {COLOURS[head["type"]]}" '
        f'title="{title}"{pressed}></td>'
    )


def _named(heads):
    """What each head is called on the page, by the id of its cell."""
    return {f"head-{h['layer']}.{h['head']}": h["type"] for h in heads}


def _rankings(found):
    lines = "".join(
        f"<tr><td>{html.escape(pair['a'])}</td><td>{html.escape(pair['b'])}</td>"
        f"<td>{'-' if pair['rho'] is None else format(pair['rho'], '+.2f')}</td>"
        f"<td>{pair['shared']} of {pair['top']}</td>"
        f"<td>{pair['by_chance']:.1f}</td></tr>"
        for pair in found
    )
    return (
        "<thead><tr><th>heads by</th><th>and by</th><th>rank correlation</th>"
        "<th>shared among the highest</th><th>by chance</th></tr></thead>"
        f"<tbody>{lines}</tbody>"
    )


def _significant(result):
    """A sentence for each text whose heads were ablated, as items of a list."""
    sentences = ""
    for text in [result, *result["other_texts"]]:
        found = text.get("ablation")
        if found:
            sentences += (
                f"<li>{html.escape(text['text'])}: taken away alone "
                f"({found['how']}), {found['significant']} of "
                f"{len(text['heads'])} heads change the loss by 1.96 standard errors; "
                f"chance alone would say {found['by_chance']:.1f}. By 3.5 errors: "
                f"{found['beyond_3.5_errors']}.</li>"
            )
    return sentences


def page(result, shown=None):
    """The whole page as text; shown: attention maps, as maps.of_text() makes them."""
    heads = result["heads"]
    count = 1 + max(head["head"] for head in heads)
    lines = ""
    for begin in range(0, len(heads), count):
        row = heads[begin : begin + count]
        cells = "".join(_cell(head, shown is not None) for head in row)
        lines += f"<tr><th>{heads[begin]['layer']}</th>{cells}</tr>"
    top = "".join(f"<th>{head}</th>" for head in range(count))
    legend = "".join(
        f'<li><span style="background: {COLOURS[name]}"></span> {name}: '
        f"{sum(head['type'] == name for head in heads)}</li>"
        for name in [rule[0] for rule in head_scores.RULES] + ["mixed"]
    )
    said = lambda text: (
        f"{text['text']}, {text['text_sha256']}, {result['tokens']} tokens"
    )
    around = {
        "Command": result["command"],
        "Model": f"{result['model']}, SHA-256 {result['model_sha256']}",
        "Text": said(result),
        **{"Other text": said(text) for text in result["other_texts"]},
        "CPU": result["cpu"],
        "Date": result["time"],
    }
    about = "".join(
        f"<dt>{key}</dt><dd>{html.escape(value)}</dd>" for key, value in around.items()
    )
    pruning = result.get("pruning") or {"curves": {}, "random": []}
    drawn = {**pruning, "maps": shown and {**shown, "named": _named(heads)}}
    data = json.dumps(drawn, separators=(",", ":")).replace("<", "\\u003c")
    here = pathlib.Path(__file__)
    text = here.with_name("atlas.html").read_text(encoding="utf-8")
    parts = {
        "HEED_GRID": f"<thead><tr><th></th>{top}</tr></thead><tbody>{lines}</tbody>",
        "HEED_LEGEND": legend,
        "HEED_RANKINGS": _rankings(result["rankings"]),
        "HEED_SIGNIFICANT": _significant(result),
        "HEED_ENVIRONMENT": about,
        "HEED_DATA": data,
        "HEED_MAPS": here.with_name("atlas.js").read_text(encoding="utf-8"),
        "HEED_CHART": pages.chart_library(),
    }
    # In one pass: what a text brings along is not replaced.
    return re.sub("|".join(parts), lambda found: parts[found[0]], text)


def write(path, result, shown=None):
    """Writes page(), or nothing. Raises InputError where it cannot."""
    text = page(result, shown)
    try:
        pathlib.Path(f"{path}.partial").write_text(text, encoding="utf-8")
        os.replace(f"{path}.partial", path)
    except OSError as error:
        raise InputError(f"--html {path}: {error.strerror}") from None
