#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/results.md from the comparisons kept in bench/results.

usage: results.py trim FILE.json              leave out layer by layer, and blanks
       results.py pictures HEED CHROMIUM      the SVGs, as the report draws them
       results.py write [RESULTS OUTPUT]      the page; docs/results.md of
                                              bench/results, or another
       results.py check                       whether it is what write makes
"""

import html
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "results.md"
# Files of a CPU's folder; the pictures of each, by the report's name of them.
PICTURES = {
    "sample": {"chart": "frontier", "mass-chart": "mass"},
    "lengths": {"length-chart": "lengths"},
    "even": {"length-chart": "even"},
    "even_2": {"length-chart": "even_2"},
    "even_10": {"length-chart": "even_10"},
    "even_20": {"length-chart": "even_20"},
    "decode": {"length-chart": "decode"},
    "kept": {"mass-chart": "kept"},
}


def trim(path):
    """Rewrites a comparison: a line a row, no numbers of layers, no place on disk."""
    data = json.loads(path.read_text().replace(f"{ROOT}/", ""))
    # The tool of another tree names the sample there.
    name = pathlib.Path(data["input"]["name"])
    if name.is_absolute():
        data["input"]["name"] = str(pathlib.Path(*name.parts[-2:]))
    for row in data["rows"]:
        row["layers"] = []
    rows = data.pop("rows")
    text = lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    lines = ",\n".join(text(row) for row in rows)
    path.write_text(f'{text(data)[:-1]},"rows":[\n{lines}\n]}}\n')


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def draw(heed, chromium):
    """Lets a report draw each comparison, and saves what it exports."""
    with tempfile.TemporaryDirectory() as work:
        report = pathlib.Path(work) / "report.html"
        small = ["compare", "-q", "--repeats", "1", "--problem", "b1_h1_d8_q16_f32"]
        subprocess.run(
            [heed, *small, "--html", report, "exact"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        page = report.read_text()
        for folder in sorted(p for p in RESULTS.iterdir() if p.is_dir()):
            for name, pictures in PICTURES.items():
                if not (folder / f"{name}.json").exists():
                    continue
                for canvas, picture in pictures.items():
                    data = (folder / f"{name}.json").read_text().replace("<", "\\u003c")
                    report.write_text(with_data(page, data, canvas))
                    svg = exported(chromium, report, work)
                    (folder / f"{picture}.svg").write_text(svg)


def with_data(page, data, canvas):
    """The page of another comparison, which shows the SVG of a canvas as text."""
    page = re.sub(
        r'(<script type="application/json" id="data">).*?(</script>)',
        lambda found: found[1] + data + found[2],
        page,
        flags=re.DOTALL,
    )
    show = (
        "<script>const box = document.querySelector('[data-of=\"%s\"]');"
        "const svg = pictureSvg(PICTURES['%s'].of(), titleOf(box));"
        "document.body.replaceChildren(Object.assign(document.createElement('pre'),"
        " {textContent: svg}));</script>" % (canvas, canvas)
    )
    return page.replace("</body>", show + "</body>")


def exported(chromium, report, work):
    dom = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1280,2000",
            f"--user-data-dir={work}/profile",
            "--dump-dom",
            f"file://{report}",
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    found = re.search(r"<pre>(.*?)</pre>", dom, flags=re.DOTALL)
    if found is None:
        sys.exit(f"results.py: the report exported nothing: {dom[-300:]}")
    return html.unescape(found[1])


def short(value, digits=2):
    """0.28, 1.5e-05; a dash for what there is not."""
    return "-" if value is None else f"{value:.{digits}g}"


def fixed(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def table(head, lines):
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *lines])


def passed(data):
    return [row for row in data["rows"] if row["gate"] == "ok"]


def row_line(row):
    return [
        f"`{row['name']}`",
        fixed(row["time"] * 1e3, 2),
        short(row["speedup"], 3),
        short(row["rel_l2"]),
        fixed(row["mass_mean"], 3),
        fixed(row["density"], 3),
    ]


def frontier(data):
    rows = sorted((r for r in passed(data) if r["pareto"]), key=lambda r: r["time"])
    head = ["row", "time ms", "x exact", "rel L2", "mass", "density"]
    return table(head, [row_line(row) for row in rows])


def mass(data):
    """Rows that choose, by density; of equal density by what they keep."""
    rows = [r for r in passed(data) if r["mass_mean"] is not None and r["density"] < 1]
    rows.sort(key=lambda r: (round(r["density"], 3), -r["mass_mean"]))
    head = ["row", "density", "mass", "mass p05", "rel L2"]
    return table(
        head,
        [
            [
                f"`{r['name']}`",
                fixed(r["density"], 3),
                fixed(r["mass_mean"], 3),
                fixed(r["mass_p05"], 3),
                short(r["rel_l2"]),
            ]
            for r in rows
        ],
    )


def efficiency(row, tokens):
    """From what length a row pays, with its interval, in words where it has none."""
    length = row["efficiency_length"]
    if length is None:
        return f"not up to {tokens[-1]:,}"
    if length == 0:
        return f"at {tokens[0]:,} already"
    ends = [row["efficiency_shortest"], row["efficiency_longest"]]
    shown = [
        "?" if end is None else f"{end:,.0f}" if end > 0 else f"less than {tokens[0]:,}"
        for end in ends
    ]
    between = " to ".join(shown)
    return f"{length:,.0f} ({between})"


def lengths(data):
    sweep = data["sweep"]
    last = sweep["tokens"][-1]
    names = {row["name"]: row for row in data["rows"]}
    lines = []
    for row in sweep["rows"]:
        if names[row["name"]]["gate"] != "ok" or names[row["name"]]["baseline"]:
            continue
        lines.append(
            [
                f"`{row['name']}`",
                efficiency(row, sweep["tokens"]),
                short(row["growth"], 3),
                short(row["speedup"][-1], 3),
            ]
        )
    head = ["variant", "pays from", "power of the length", f"x exact at {last:,}"]
    return table(head, sorted(lines))


def needed(data):
    """What rows need for the attention that they were to keep."""
    rows = [r for r in passed(data) if r["density"] is not None and r["density"] < 1]
    head = ["row", "density", "mass", "rel L2"]
    return table(
        head,
        [
            [
                f"`{row['name']}`",
                fixed(row["density"], 3),
                fixed(row["mass_mean"], 3),
                short(row["rel_l2"]),
            ]
            for row in rows
        ],
    )


def measured(data, folder):
    """Machine and input of a comparison."""
    run, environment, layers = data["run"], data["environment"], data["input"]["layers"]
    if data["input"]["synthetic"]:
        what = f"random tensors, `{layers[0]['problem']}` and shorter"
    else:
        names = " and ".join(layer["name"] for layer in layers)
        what = f"{names} of `{data['input']['name']}`"
    return (
        f"{environment['cpu']} ({folder.name}, `{run['target']}`), "
        f"{run['threads']} thread{'s' if run['threads'] > 1 else ''}, "
        f"{environment['compiler']}, median of {run['repeats']} rounds; {what}.\n"
    )


def of_sample(folder, picture):
    data = read(folder, "sample")
    return [
        "### Frontier on the sample\n",
        measured(data, folder),
        picture("frontier", "Error of each row against its time"),
        "Rows that no other row beats, beyond both their spreads; all rows are "
        "in the picture.\n",
        frontier(data),
        "### Attention kept against pairs kept\n",
        "Of the same run: what choosing well is worth, apart from how much is "
        "chosen. `oracle_topk` knows the answer, `random_blocks` does not look.\n",
        picture("mass", "Attention mass kept against density"),
        mass(data),
    ]


def of_lengths(folder, picture):
    data = read(folder, "lengths")
    return [
        "### From what length it pays\n",
        measured(data, folder),
        "The length from which a variant at its defaults is faster than `exact` "
        "for good, with the interval that both their spreads leave.\n",
        picture("lengths", "Time against length"),
        lengths(data),
    ]


def of_even(folder, picture, name="even", layer=None):
    data = read(folder, name)
    of_layer = "" if layer is None else f", layer {layer}"
    return [
        f"### From what length it pays to keep 0.95 of the attention{of_layer}\n",
        measured(data, folder),
        "Each row has the smallest budget with which it keeps so much of the longest "
        "prompt, and the same budget of shorter ones.\n",
        picture(name, f"Time against length, at 0.95 of the attention{of_layer}"),
        lengths(data),
        needed(data),
    ]


def of_layer(layer):
    return lambda folder, picture: of_even(folder, picture, f"even_{layer}", layer)


def of_decode(folder, picture):
    data = read(folder, "decode")
    return [
        "### From what length it pays to keep 0.95 of the attention, decoding\n",
        measured(data, folder),
        "The last tokens, one by one, each over the keys that were there before it.\n",
        picture("decode", "Time of a token against length, at 0.95 of the attention"),
        lengths(data),
        needed(data),
    ]


def of_kept(folder, picture):
    data = read(folder, "kept")
    return [
        "### Attention kept against pairs kept, by every method\n",
        measured(data, folder),
        "`oracle_topk` knows the answer, in blocks; `random_blocks` does not look. What "
        "chooses for each row can do better than blocks can.\n",
        picture("kept", "Attention mass kept against density, by every method"),
        mass(data),
    ]


def of_blocks(folder, _):
    data = read(folder, "blocks")
    return [
        "### What blocks of which size need\n",
        measured(data, folder),
        "The smallest budget that keeps 0.95 of the attention, by keys a block.\n",
        needed(data),
    ]


def of_ablation(folder, _):
    data = read(folder, "ablation")
    return [
        "### What XAttention owes to its parts\n",
        measured(data, folder),
        "The smallest threshold that keeps 0.95 of the attention. `pattern` 0 sums "
        "antidiagonals, 1 diagonals, 2 pairs drawn once; `selector` 0 keeps a share of "
        "the mass, 1 of the blocks that rows see, 2 as many blocks everywhere.\n",
        needed(data),
    ]


# What a folder may have, in the order of the page.
PARTS = {
    "sample": of_sample,
    "lengths": of_lengths,
    "even": of_even,
    "even_2": of_layer(2),
    "even_10": of_layer(10),
    "even_20": of_layer(20),
    "decode": of_decode,
    "kept": of_kept,
    "blocks": of_blocks,
    "ablation": of_ablation,
}


def section(folder, where):
    # A machine without a browser has numbers and no pictures.
    picture = lambda name, text: (
        f"![{text}]({where}/{name}.svg)\n" if (folder / f"{name}.svg").exists() else None
    )
    lines = [f"## {folder.name}\n"]
    note = folder / "note.txt"
    if note.exists():
        lines.append(note.read_text())
    for name, part in PARTS.items():
        if (folder / f"{name}.json").exists():
            lines += part(folder, picture)
    return "\n".join(line for line in lines if line is not None)


def page(results, output):
    where = os.path.relpath(results, output.parent)
    folders = sorted(p for p in results.iterdir() if p.is_dir())
    head = (
        "# Results\n\n"
        "<!-- Written by tools/results.py from bench/results: change those. -->\n\n"
        "What `heed compare` said, by CPU. Every row passed its check before it was "
        "timed. The numbers behind each table and picture are the JSON files of "
        "`bench/results/CPU`, and\n\n"
        "```sh\nbash bench/results/make.sh CPU\nbash bench/results/sparse.sh CPU\n```\n\n"
        "measure them anew, the second on a longer prompt. Times say who is faster on that machine; errors, mass "
        "and density are the same on all.\n\n"
    )
    return head + "\n".join(section(f, f"{where}/{f.name}") for f in folders)


def main(arguments):
    match arguments:
        case ["trim", name]:
            trim(pathlib.Path(name))
        case ["pictures", heed, chromium]:
            draw(heed, chromium)
        case ["write"]:
            PAGE.write_text(page(RESULTS, PAGE))
        case ["write", results, output]:
            results, output = pathlib.Path(results), pathlib.Path(output)
            output.write_text(page(results, output))
        case ["check"]:
            if PAGE.read_text() != page(RESULTS, PAGE):
                sys.exit("docs/results.md is not what tools/results.py write makes")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
