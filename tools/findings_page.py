#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/findings.md from the results that are kept in bench/models.

usage: findings_page.py write      fills what stands between <!-- name --> and
                                   <!-- end --> of the page
       findings_page.py check      whether that is what write makes, and no number
                                   stands elsewhere
       findings_page.py pictures CHROMIUM
                                   draws the SVGs as `heed report` does, in a browser
                                   (with the package heed at hand)
"""

import html
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from xml.dom import minidom

import models_page
from model_tables import variants as of_variants
from model_tables.words import percent, signed, table

ROOT = models_page.ROOT
NAMES = ("eval", "needles", "layers", "heads", "facts", "head_count")
COMPARISONS = ROOT / "bench" / "results"
# Results of `heed compare`, by the names that their files may have there.
COMPARED = {"compare": ["sample"], "lengths": ["even", "even_10"]}
PAGE = ROOT / "docs" / "findings.md"
# Canvases of the report that the page shows.
PICTURES = ("kernel", "model", "recall", "prediction", "by-layer", "atlas", "loss", "margin",
            "interventions", "positions")  # fmt: skip


def _folder(path):
    """A folder of the package that needs nothing of it, as a package of its own."""
    spec = importlib.util.spec_from_file_location(
        path.name, path / "__init__.py", submodule_search_locations=[str(path)]
    )
    module = sys.modules[path.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


answers = _folder(ROOT / "python" / "heed" / "report" / "answers")


def kept():
    """{name: file} of the results, each from the fullest folder that has it.

    Quality does not depend on the machine; times are of eval's and lengths' own.
    Comparisons are those of bench/results, of eval's CPU where it has them, else of
    the last folder by name that does.
    """
    folders = sorted(p for p in models_page.RESULTS.iterdir() if p.is_dir())
    files = {n: [p / f"{n}.json" for p in folders] for n in NAMES}
    there = {
        n: [path for path in paths if path.is_file()] for n, paths in files.items()
    }
    full = lambda path: sum(
        path.parent == p.parent for of in there.values() for p in of
    )
    found = {name: max(paths, key=full) for name, paths in there.items() if paths}
    cpu = found["eval"].parent.name if "eval" in found else None
    for name, stems in COMPARED.items():
        paths = sorted(p for stem in stems for p in COMPARISONS.glob(f"*/{stem}.json"))
        own = [path for path in paths if path.parent.name == cpu]
        if paths:
            found[name] = (own or paths)[-1]
    return found


def read(files):
    """{name: result}, None for what is not there."""
    names = (*NAMES, *COMPARED)
    return {n: json.loads(files[n].read_text()) if n in files else None for n in names}


NOT_THERE = "No kept result has it.\n"


def answered(found):
    word = found["word"]
    return (
        f"**{word[:1].upper() + word[1:]}.** {' '.join(found['says'])}".rstrip()
        + "\n\n"
        f"*By this rule:* {found['rule']}\n"
    )


def picture(name, words):
    """A picture of the kept results, or nothing where it could not be drawn."""
    path = models_page.RESULTS / "pictures" / f"{name}.svg"
    there = path.is_file()
    return f"![{words}](../{path.relative_to(ROOT)})\n\n" if there else ""


def measured(run):
    """What was run, and on what: a line a result."""
    lines = []
    for name, result in run.items():
        if result is not None:
            about = result if name in COMPARED else result.get("run", result)
            cpu = about.get("cpu") or result["environment"]["cpu"]
            made = result["run"] if name in COMPARED else about["versions"]
            lines.append([f"`{about['command']}`", cpu, made["target"]])
    text = of_variants.measured(run["eval"], run["heads"])
    return text + "\n" + table(["command", "CPU", "kernels"], lines)


def quadratic(run):
    return answered(answers.quadratic(run["eval"], run["lengths"]))


def heads_needed(run):
    return answered(answers.heads_needed(run["heads"], run["head_count"]))


def store_or_retrieve(run):
    return answered(answers.store_or_retrieve(run["facts"]))


def variants(run):
    return of_variants.eval_table(run["eval"], run["heads"])


def pruning(run):
    """A line an order: loss and needles by share of heads."""
    found = run["heads"].get("pruning")
    if found is None:
        return NOT_THERE
    shares = [p["share"] for p in next(iter(found["curves"].values()))]
    head = ["order", *(f"{percent(s)}: loss" for s in shares)]
    head += [f"{percent(s)}: margin" for s in shares]
    name_of = lambda p: "other_loss" if "other_loss" in p else "loss"
    lines = []
    for name, curve in found["curves"].items():
        losses = [signed(p[name_of(p)], p[f"{name_of(p)}_error"], 3) for p in curve]
        margins = [signed(p["margin"], p["margin_error"]) for p in curve]
        lines.append([name, *losses, *margins])
    draws = found["random"]
    ends = lambda key, at, digits: " to ".join(
        f"{pick(curve[at][key] for curve in draws):+.{digits}f}" for pick in (min, max)
    )
    key = name_of(draws[0][0])
    lines.append(
        [f"{len(draws)} random orders"]
        + [ends(key, i, 3) for i in range(len(shares))]
        + [ends("margin", i, 2) for i in range(len(shares))]
    )
    margin = signed(found["margin"], found["margin_error"])
    return (
        table(head, lines) + f"\nThe needles' margin with all heads is {margin} nats.\n"
    )


def interventions(run):
    if run["facts"] is None:
        return NOT_THERE
    head = [
        "intervention",
        "taken of the context's",
        "taken of the facts'",
        "takes more of",
    ]
    lines = []
    for e in answers.effects(run["facts"]):
        side = "-" if e["kind"] == "random heads" else e["side"]
        shares = [signed(e[n], e[f"{n}_error"]) for n in ("needles", "facts")]
        lines.append([e["name"], *shares, side])
    base = run["facts"]["baseline"]
    return table(head, lines) + (
        f"\nThe model knows {base['facts_known']} of {base['facts_asked']} capitals and "
        f"finds {base['needles_right']} of {base['needles']} needles.\n"
    )


def predictions(run):
    lines = [
        [p["predictor"], p["harm"], f"{p['rho']:+.2f}", f"{p['variants']} variants"]
        for p in run["eval"]["predictions"]
    ]
    alone = (run["layers"] or run["eval"]).get("layer_predictions", [])
    lines += [
        [
            f"{p['predictor']} of a layer",
            p["harm"],
            f"{p['rho']:+.2f}",
            f"{p['points']} layers of {p['variants']} variants",
        ]
        for p in alone
    ]
    return table(["number of attention", "harm", "rank correlation", "over"], lines)


def depth(run):
    """Margins of needles by length and depth, where they were asked so."""
    found = run["needles"] or run["eval"]
    lines = []
    for row in found["rows"]:
        cells = row["tasks"].get("needle", {}).get("by_depth") or []
        margin = {(tokens, fifth): mean for tokens, fifth, mean, _ in cells}
        for tokens in sorted({tokens for tokens, _ in margin}):
            shown = [margin.get((tokens, fifth)) for fifth in range(5)]
            lines.append(
                [f"`{row['spec']}`", f"{tokens:,}"]
                + ["-" if m is None else f"{m:+.1f}" for m in shown]
            )
    head = ["variant", "tokens", *(f"{20 * i}-{20 * i + 20} %" for i in range(5))]
    return table(head, lines) if lines else NOT_THERE


def pictures(run):
    names = {
        "kernel": "Error of attention alone against its time",
        "model": "KLD against time of attention",
        "recall": "What is left of the worst task against time of attention",
    }
    return "".join(picture(n, w) for n, w in names.items())


def head_pictures(run):
    return "".join(
        [
            picture("atlas", "Types of heads, layer by layer"),
            picture("loss", "Loss by the share of heads taken away"),
            picture("margin", "Margin of needles by the share of heads taken away"),
        ]
    )


def fact_picture(run):
    return picture("interventions", "Shares of margins that interventions take")


def harm_pictures(run):
    return picture(
        "prediction", "KLD against what a variant loses of attention's mass"
    ) + picture("by-layer", "The same, each variant in one layer alone")


def position_picture(run):
    return picture("positions", "Loss over exact attention's, by position")


BLOCKS = {
    block.__name__: block
    for block in (
        measured, quadratic, heads_needed, store_or_retrieve, variants, pruning,
        interventions, predictions, depth, pictures, head_pictures, fact_picture,
        harm_pictures, position_picture,
    )
}  # fmt: skip


def page(text):
    run = read(kept())

    def fill(match):
        made = BLOCKS[match[1]](run).rstrip("\n")
        return f"<!-- {match[1]} -->\n\n{made}\n\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


def draw(chromium):
    """Lets a report draw the kept run, and saves what it exports."""
    from heed.report import inputs, page as report

    files = {name: str(path) for name, path in kept().items()}
    text = report.page(inputs.read(None, files), "heed report --folder .")
    show = (
        "<script>const svgs = Object.fromEntries([...document.querySelectorAll('.files')]"
        ".filter((box) => drawn[box.dataset.of]).map((box) => [box.dataset.of,"
        " pictureSvg(drawn[box.dataset.of], titleOf(box))]));"
        "document.body.replaceChildren(Object.assign(document.createElement('pre'),"
        " {textContent: JSON.stringify(svgs)}));</script></body>"
    )
    with tempfile.TemporaryDirectory() as work:
        file = pathlib.Path(work) / "report.html"
        file.write_text(text.replace("</body>", show))
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--window-size=1280,2000", f"--user-data-dir={work}/profile"]
        dom = subprocess.run(
            [*command, "--dump-dom", f"file://{file}"],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
    found = re.search(r"<pre>(.*?)</pre>", dom, flags=re.DOTALL)
    if found is None:
        sys.exit(f"findings_page.py: the report exported nothing: {dom[-300:]}")
    for name, svg in json.loads(html.unescape(found[1])).items():
        if name in PICTURES:
            folder = models_page.RESULTS / "pictures"
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.svg").write_text(svg)


def main(arguments):
    if arguments[:1] == ["pictures"] and len(arguments) == 2:
        return draw(arguments[1])
    text = PAGE.read_text()
    if arguments == ["write"]:
        PAGE.write_text(page(text))
    elif arguments == ["check"]:
        if text != page(text):
            sys.exit("docs/findings.md is not what tools/findings_page.py write makes")
        if loose := models_page.loose_numbers(text):
            sys.exit(f"docs/findings.md: stands in no result: {', '.join(loose)}")
        for path in re.findall(r"\]\((\.\./[^)]*\.svg)\)", text):
            svg = (PAGE.parent / path).read_text()
            minidom.parseString(svg)
            if "prefers-color-scheme: dark" not in svg:
                sys.exit(f"{path} has one theme")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
