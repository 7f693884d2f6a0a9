# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The report of `heed eval`: one page with its data and Chart.js inside."""

import html
import json
import os
import pathlib

import numpy as np

import heed
from heed.models import places, scores
from heed.models import rows as tables
from heed.models.errors import InputError

_HERE = pathlib.Path(__file__).parent


def chart_library():
    """Chart.js, as the wheel brings it. Raises InputError where it does not."""
    path = pathlib.Path(heed.__file__).parent / "share" / "heed" / "chart.js"
    if not path.is_file():
        raise InputError(f"--html: {path} is missing: install heed's wheel")
    return path.read_text(encoding="utf-8")


def _table(rows):
    heads = tables.columns(rows)
    head = "".join(f"<th>{html.escape(name)}</th>" for name, _ in heads)
    lines = []
    for row in rows:
        cells = ""
        for name, read in heads:
            text = str(read(row))
            grey = ' class="unable"' if text.startswith("(") else ""
            cells += f"<td{grey}>{html.escape(text)}</td>"
        lines.append(f"<tr>{cells}</tr>")
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"


def _shade(margin):
    """Green where the right answer leads, red where another does."""
    strength = min(abs(margin) / 4, 1)
    colour = "0, 158, 115" if margin > 0 else "213, 94, 0"
    return f"background: rgba({colour}, {0.15 + 0.6 * strength:.2f})"


def _grids(rows, found):
    """Margins by depth, a table a task: means over the items of a fifth."""
    parts = []
    names = list(dict.fromkeys(n for r in rows for n in r["tasks"]))
    for task in names:
        lines = []
        for row in rows:
            grid = found.get((row["spec"], task))
            if grid is None:
                continue
            cells = f"<td>{html.escape(row['spec'])}</td>"
            for fifth in range(5):
                margins = [g[3] for g in grid if min(int(g[2] * 5), 4) == fifth]
                if margins:
                    mean = float(np.mean(margins))
                    cells += f'<td style="{_shade(mean)}">{mean:+.1f}</td>'
                else:
                    cells += "<td></td>"
            lines.append(f"<tr>{cells}</tr>")
        heads = "".join(f"<th>{20 * i}-{20 * i + 20} %</th>" for i in range(5))
        parts.append(
            f"<h3>{task}</h3><div class='scroll'><table><thead><tr><th>variant</th>"
            f"{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        )
    return "".join(parts)


def _predictions(found):
    lines = "".join(
        f"<tr><td>{html.escape(p['predictor'])}</td><td>{html.escape(p['harm'])}</td>"
        f"<td>{p['rho']:+.2f}</td><td>{p['variants']}</td></tr>"
        for p in found
    )
    return (
        "<thead><tr><th>number of attention</th><th>harm</th><th>rank correlation</th>"
        f"<th>variants</th></tr></thead><tbody>{lines}</tbody>"
    )


def _environment(run):
    texts = [
        (f"Text {name}", f"{text['label']}, {text['sha256']}")
        for name, text in run["texts"].items()
    ]
    machine = f"{run['cpu']}, {run['processors']} processors, {run['threads']} threads"
    pairs = [
        ("Command", run["command"]),
        ("Model", f"{run['model']}, SHA-256 {run['model_sha256']}"),
        ("Where", run["where"]),
        *texts,
        ("CPU", machine),
        ("Versions", ", ".join(f"{k} {v}" for k, v in run["versions"].items())),
        ("Date", run["time"]),
    ]
    return "".join(f"<dt>{k}</dt><dd>{html.escape(str(v))}</dd>" for k, v in pairs)


def page(entries):
    """The whole page as text."""
    rows = tables.rows_of(entries)
    run, found = tables.asked(entries)
    grids = {
        (e["spec"], e["task"]): e["accuracy"]["grid"]
        for e in found.values()
        if e["status"] == "OK" and "grid" in e["accuracy"]
    }
    predictions = tables.predictions(rows)
    drawn = {
        "ladder": scores.LADDER,
        "predictors": list(tables.PREDICTORS),
        "rows": [
            {
                "spec": row["spec"],
                "kld": row["kld"],
                "share": row.get("worst_share"),
                "task": row.get("worst_task"),
                "yardstick": row["spec"] in places.YARDSTICKS,
                "time": row["kernel"]["time_ratio"] if row["kernel"] else None,
                "positions": {k: v["positions"] for k, v in row["lm"].items()},
                "predictors": {
                    name: read(row["kernel"]) if row["kernel"] else None
                    for name, read in tables.PREDICTORS.items()
                },
            }
            for row in rows
        ],
    }
    warnings = "".join(f"<li>{html.escape(w)}</li>" for w in tables.warnings(rows))
    data = json.dumps(drawn, separators=(",", ":")).replace("<", "\\u003c")
    text = (_HERE / "report.html").read_text(encoding="utf-8")
    for name, value in {
        "HEED_LEAD": html.escape(
            f"{run['model']}, {run['tokens']} tokens a text. Exact attention first; "
            f"each variant computes {run['where']}."
        ),
        "HEED_TABLE": _table(rows),
        "HEED_WARNINGS": warnings,
        "HEED_GRIDS": _grids(rows, grids),
        "HEED_PREDICTIONS": _predictions(predictions),
        "HEED_ENVIRONMENT": _environment(run),
        "HEED_DATA": data,
        "HEED_SCRIPT": (_HERE / "report.js").read_text(encoding="utf-8"),
        "HEED_CHART": chart_library(),
    }.items():
        text = text.replace(name, value)
    return text


def write(path, entries):
    """Writes the page, or nothing. Raises InputError where it cannot."""
    text = page(entries)
    partial = pathlib.Path(f"{path}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"--html {path}: {error.strerror}") from None
