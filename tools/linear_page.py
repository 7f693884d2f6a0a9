#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the studies' numbers in docs/linear.md from what is kept in bench/studies.

usage: linear_page.py write     fills what stands between <!-- name --> and
                                <!-- end --> of the page
       linear_page.py check     whether that is what write makes
"""

import csv
import json
import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = ROOT / "bench" / "studies" / "linear"
PAGE = ROOT / "docs" / "linear.md"


def table(head, lines):
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *lines])


def ranks(values):
    """Places by size, equal ones sharing theirs."""
    order = sorted(values)
    return [(order.index(v) + len(order) - 1 - order[::-1].index(v)) / 2 for v in values]


def rank_correlation(a, b):
    return statistics.correlation(ranks(a), ranks(b))


def errors():
    """Each stand-in over all heads, and how its error goes with the head's entropy."""
    rows = list(csv.DictReader((KEPT / "errors.csv").read_text().splitlines()))
    column = lambda name: [float(row[name]) for row in rows]
    entropy, mean = column("entropy"), column("mean")
    names = list(rows[0])
    lines = []
    for name in names[names.index("mean") :]:
        error = column(name)
        over = [e / m for e, m in zip(error, mean)]
        lines.append(
            [
                "every key alike" if name == "mean" else f"`{name}`",
                f"{min(error):.2f}",
                f"{statistics.median(error):.2f}",
                f"{max(error):.2f}",
                "-" if name == "mean" else f"{min(over):.2f} to {max(over):.2f}",
                f"{rank_correlation(entropy, error):+.2f}",
            ]
        )
    exponent, predicted = column("exponent"), column("predicted")
    head = ["", "least", "median", "most", "over every key alike", "rank correlation with entropy"]
    return (
        f"{len(rows)} heads, entropies of {min(entropy):.1f} to {max(entropy):.1f} nats "
        f"(median {statistics.median(entropy):.1f}); |q' + k'|² of {min(exponent):.0f} to "
        f"{max(exponent):.0f}, for which 256 random features predict a weight's relative "
        f"standard deviation of {min(predicted):.0e} to {max(predicted):.0e}. The error of "
        f"`performer` goes with it by a rank correlation of "
        f"{rank_correlation(predicted, column('performer')):+.2f}.\n\n" + table(head, lines)
    )


def sweep_line(rows, loops):
    """The fastest tile and chunk, the plan's own, and the loops, in nanoseconds."""
    tiled = [r for r in rows if r["tile"]]
    own = next(r for r in rows if not r["tile"] and not r["loop"])
    best = min(tiled, key=lambda r: r["ns"])
    times = {r["loop"]: r["ns"] for r in rows if r["loop"]}
    return [
        f"{own['ns']:.0f} ({own['peak']:.2f})",
        f"{best['ns']:.0f} ({best['peak']:.2f})",
        f"{best['chunk']} / {best['tile']}",
        f"{max(r['ns'] for r in tiled) / best['ns']:.1f}",
        *(f"{times[loop] / own['ns']:.2f}" if loop in times else "-" for loop in loops),
    ]


def sweep():
    """Nothing where no machine's numbers are kept."""
    if not (KEPT / "sweep.json").exists():
        return ""
    data = json.loads((KEPT / "sweep.json").read_text())
    lines = []
    for primitive, title in data["primitives"].items():
        for dim in (64, 128):
            rows = [r for r in data["rows"] if (r["primitive"], r["dim"]) == (primitive, dim)]
            lines.append([f"{title}, {dim}", *sweep_line(rows, data["loops"])])
    head = [
        "",
        "as planned: ns a token (share of peak)",
        "fastest",
        "its chunk / tile",
        "slowest over fastest",
        *(f"{title} over planned" for title in data["loops"].values()),
    ]
    picture = (
        "\n![Time of scans by chunk length, a line a tile, with the best loop and the FMA peak; "
        "head_dim 128](../bench/studies/linear/sweep.svg)\n"
    )
    return f"{data['cpu']}, `{data['target']}`:\n\n" + table(head, lines) + picture


BLOCKS = {"errors": errors, "sweep": sweep}


def page():
    text = PAGE.read_text()
    for name, made in BLOCKS.items():
        text, found = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda at: f"{at[1]}{made()}{at[2]}",
            text,
            flags=re.DOTALL,
        )
        if found != 1:
            sys.exit(f"linear_page.py: {PAGE.name} has not one <!-- {name} -->")
    return text


def main():
    if sys.argv[1:] == ["write"]:
        PAGE.write_text(page())
    elif sys.argv[1:] == ["check"]:
        if PAGE.read_text() != page():
            sys.exit("docs/linear.md is not what tools/linear_page.py write makes")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
