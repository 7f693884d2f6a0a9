# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The page of `heed heads`: a cell a head, and the curves of pruning."""

import html
import json
import os
import pathlib

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


def _cell(head):
    numbers = "\n".join(
        f"{name} {value:.4g}"
        for name, value in head.items()
        if name not in ("layer", "head", "type")
    )
    title = html.escape(f"{head['layer']}.{head['head']}: {head['type']}\n{numbers}")
    return f'<td style="background: {COLOURS[head["type"]]}" title="{title}"></td>'


def page(result):
    """The whole page as text."""
    heads = result["heads"]
    count = 1 + max(head["head"] for head in heads)
    lines = ""
    for begin in range(0, len(heads), count):
        cells = "".join(map(_cell, heads[begin : begin + count]))
        lines += f"<tr><th>{heads[begin]['layer']}</th>{cells}</tr>"
    top = "".join(f"<th>{head}</th>" for head in range(count))
    legend = "".join(
        f'<li><span style="background: {COLOURS[name]}"></span> {name}: '
        f"{sum(head['type'] == name for head in heads)}</li>"
        for name in [rule[0] for rule in head_scores.RULES] + ["mixed"]
    )
    around = {
        "Command": result["command"],
        "Model": f"{result['model']}, SHA-256 {result['model_sha256']}",
        "Text": f"{result['text']}, {result['text_sha256']}, {result['tokens']} tokens",
        "CPU": result["cpu"],
        "Date": result["time"],
    }
    about = "".join(
        f"<dt>{key}</dt><dd>{html.escape(value)}</dd>" for key, value in around.items()
    )
    pruning = result.get("pruning") or {"curves": {}, "random": []}
    data = json.dumps(pruning, separators=(",", ":")).replace("<", "\\u003c")
    text = pathlib.Path(__file__).with_name("atlas.html").read_text(encoding="utf-8")
    for name, value in {
        "HEED_GRID": f"<thead><tr><th></th>{top}</tr></thead><tbody>{lines}</tbody>",
        "HEED_LEGEND": legend,
        "HEED_ENVIRONMENT": about,
        "HEED_DATA": data,
        "HEED_CHART": pages.chart_library(),
    }.items():
        text = text.replace(name, value)
    return text


def write(path, result):
    """Writes the page, or nothing. Raises InputError where it cannot."""
    text = page(result)
    try:
        pathlib.Path(f"{path}.partial").write_text(text, encoding="utf-8")
        os.replace(f"{path}.partial", path)
    except OSError as error:
        raise InputError(f"--html {path}: {error.strerror}") from None
