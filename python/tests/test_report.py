# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed report`: what it takes, its page, the page in a browser."""

import copy
import functools
import importlib
import json
import pathlib
import re
import shutil
import subprocess

import made_results as made
import pytest

from heed.models.errors import InputError
from heed.report import command, inputs, kinds, page


def folder_of(tmp_path, results):
    for name, result in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    return tmp_path


def test_what_it_takes(tmp_path):
    found = inputs.read(folder_of(tmp_path, made.all_of()), {})
    assert list(found) == ["eval", "layers", "heads", "facts", "compare", "lengths"]
    lines = [json.dumps(entry) for entry in made.made_up_run()]
    lines = [line.replace(": ", ":").replace(", ", ",") for line in lines]
    (tmp_path / "eval.json").unlink()
    (tmp_path / "eval.jsonl").write_text("\n".join(lines) + "\n")
    assert len(inputs.read(tmp_path, {})["eval"]["rows"]) == 4
    other = tmp_path / "other.json"
    other.write_text(json.dumps(made.heads()))
    assert "pruning" not in inputs.read(tmp_path, {"heads": str(other)})["heads"]


def test_what_is_refused(tmp_path, capsys):
    def refused(words, *argv):
        page_ = tmp_path / "report.html"
        assert command.main(["--html", str(page_), *argv]) == 1
        error = capsys.readouterr().err
        assert words in error and len(error.splitlines()) == 1, error
        assert error.startswith("heed report: ") and not page_.exists()

    def written(name, result):
        path = tmp_path / name
        path.write_text(result if isinstance(result, str) else json.dumps(result))
        return str(path)

    heads = written("h", made.heads())
    refused("none of eval.json")
    refused("is no folder", "--folder", str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    refused("has none of eval.json", "--folder", str(tmp_path / "empty"))
    refused("No such file", "--heads", str(tmp_path / "none.json"))
    refused("is no JSON", "--heads", written("nan", '{"a": NaN}'))
    lines = '{"run":{}}\n{"key":"a"}\n'
    refused("is no JSON", "--head-count", written("lines", lines))
    refused("line 1 is no result (run.cases)", "--eval", written("lines", lines))
    refused("is no JSON", "--heads", written("x", "nonsense"))
    refused("is not what `heed facts --out facts.json` writes", "--facts", heads)
    refused("is not what `heed eval", "--eval", heads)
    refused(
        "is not what `heed compare --tokens",
        "--lengths",
        written("c", made.comparison()),
    )
    other = {**made.facts(made.fact_row("window everywhere", -1.8, -0.4)), "model": "n", "model_sha256": "9"}
    refused("is of n (9), but", "--heads", heads, "--facts", written("f", other))
    newer = {**made.comparison(), "format": "heed-compare-2"}
    refused("is of the format heed-compare-2", "--compare", written("n", newer))
    older = made.eval_()
    older["rows"][1].pop("ahead")
    refused("or an older heed's: rows[1].ahead", "--eval", written("o", older))
    wrong = made.heads()
    wrong["heads"][3]["layer"] = "3"
    refused("heads[3].layer", "--heads", written("w", wrong))
    refused("its folder", "--heads", heads, "--html", str(tmp_path / "none" / "r.html"))


def broken(found):
    """A result with each of its fields gone, null, another's or empty, one at a time."""

    def places(x, at=()):
        inner = x.items() if isinstance(x, dict) else enumerate(x[:2])
        for key, value in inner:
            yield (*at, key)
            if isinstance(value, (dict, list)):
                yield from places(value, (*at, key))

    for *at, last in places(found):
        for instead in ("gone", None, "<b>", []):
            result = copy.deepcopy(found)
            inner = functools.reduce(lambda x, key: x[key], at, result)
            if instead == "gone":
                del inner[last]
            else:
                inner[last] = instead
            yield [*at, last], instead, result


@pytest.mark.parametrize("name", kinds.KINDS)
def test_a_broken_result_is_refused_or_shown(tmp_path, name):
    results = {
        **made.all_of(),
        "needles": made.eval_(),
        "head_count": made.head_count(),
        "positions": made.positions(),
        "bars": made.bars(),
    }
    path, refused, shown = tmp_path / "r.json", 0, 0
    for at, instead, result in broken(results[name]):
        path.write_text(json.dumps(result))
        try:
            found = inputs.read(None, {name: str(path)})
        except InputError:
            refused += 1
            continue
        try:
            text = page.page(found, "heed report")
        except Exception as error:
            pytest.fail(f"{name}: {at} is {instead}: {error!r}")
        shown += 1
        assert "<b></" not in text
    assert refused and shown


def test_names_of_tasks_are_words_of_a_page():
    found = made.eval_()
    for row in found["rows"]:
        row["tasks"] = {f"<i>{name}": task for name, task in row["tasks"].items()}
    for task in found["rows"][1]["tasks"].values():
        task["by_depth"] = [[64, 0, 1.0, 2]]
    text = page.page({"eval": found}, "heed report")
    assert "<h3>&lt;i&gt;needle</h3>" in text and "<i>needle" not in text.split("<script")[0]


def test_the_page(tmp_path, capsys):
    results = made.all_of()
    results["eval"]["run"]["command"] = "heed eval </script><script>HEED_CHART"
    out = tmp_path / "r.html"
    assert (
        command.main(
            ["--folder", str(folder_of(tmp_path, results)), "--html", str(out)]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert "20 % can go" in shown and "Not there: what positions are for" in shown
    text = out.read_text()
    assert text.count("new Chart(") and "https://" not in text.split("<script>")[0]
    assert "&lt;/script&gt;&lt;script&gt;HEED_CHART" in text
    for placeholder in (
        "HEED_DATA",
        "HEED_TITLE",
        "HEED_GRIDS",
        "HEED_MORE",
        "HEED_STYLE",
    ):
        assert placeholder not in text
    drawn = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert [p["name"] for p in drawn["kernel"]] == ["near:k=1"]
    assert len(drawn["variants"]) == 3 and drawn["sweep"]["rows"][0]["time"] == [
        2.0,
        0.5,
    ]
    assert drawn["effects"][0]["side"] == "context"
    assert "heed positions --json positions.json" in text
    alone = page.page({"eval": made.eval_()})
    assert "Not there" in alone and "heed positions --json" not in alone


def test_tables_of_other_results(tmp_path):
    others = {
        "head_count": made.head_count(),
        "positions": made.positions(),
        "bars": made.bars(),
    }
    text = page.page(inputs.read(folder_of(tmp_path, others), {}), "heed report")
    for cells in (
        "<td>8</td><td>8</td><td>2.5000±0.0100</td><td>+0.250±0.005</td><td>-</td>",
        "<td>removed</td><td>7.500</td><td>+4.000±0.250</td><td>-2.000±0.500</td>",
        "<td>YaRN</td><td>3.000</td><td>3.000 (+0.500±0.125)</td>",
        "<td>keys</td><td>1.0e-07</td><td>4.0 %</td>",
        "depth: not measured: it has &lt;none&gt;",
        ">Sinks (Xiao 2023)</td><td>not seen</td>",
        ">factor: 1.500 (published: 10); share: 1.500</td>",
        ">no text</td>",
    ):
        assert cells in text, cells
    assert "heed eval --preset standard" in text  # what is missing


ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not (ROOT / "bench").is_dir(), reason="needs a checkout")
def test_findings_are_written_from_the_kept_results(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    findings = importlib.import_module("findings_page")
    results = made.all_of()
    results["eval"]["run"].update(length=8, documents={"needle": 4})
    results["needles"] = results["eval"]
    (tmp_path / "cpu").mkdir()
    for name, stems in findings.COMPARED.items():
        file = tmp_path / "cpu" / f"{stems[-1]}.json"
        file.write_text(json.dumps(results.pop(name)))
    monkeypatch.setattr(findings, "COMPARISONS", tmp_path)
    full = [name for name in results if name != "layers"]
    for name, some in (
        ("a", ["eval", "layers"]),
        ("b", full),
        ("c", ["eval", "heads"]),
    ):
        (tmp_path / name).mkdir()
        folder_of(tmp_path / name, {n: results[n] for n in some})
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "atlas.svg").write_text("<svg/>")
    monkeypatch.setattr(findings.models_page, "RESULTS", tmp_path)
    monkeypatch.setattr(findings, "ROOT", tmp_path)
    folders = {name: path.parent.name for name, path in findings.kept().items()}
    # Where most is, and what is elsewhere alone.
    where = {**dict.fromkeys(["eval", "needles", "heads", "facts"], "b"), "layers": "a"}
    assert folders == {**where, "compare": "cpu", "lengths": "cpu"}
    empty = "".join(f"<!-- {name} -->\n<!-- end -->\n" for name in findings.BLOCKS)
    text = findings.page(empty)
    assert (
        findings.page(text) == text and findings.models_page.loose_numbers(text) == []
    )
    assert "**20 % can go.**" in text and "attention retrieves" in text.lower()
    assert "| taylor | +0.001 ± 0.001 | +0.005 ± 0.001 | +0.500 ± 0.001 |" in text
    assert "| 2 random orders | +0.400 to +0.500 |" in text
    assert "| window everywhere | +0.90 ± 0.05 | +0.10 ± 0.03 | context |" in text
    assert "](../pictures/atlas.svg)" in text and "loss.svg" not in text
    wrong = findings.models_page.loose_numbers(text + "About 7.5 heads.\n")
    assert wrong == ["7.5"]


chromium = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(not chromium, reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser(tmp_path, width):
    text = page.page(made.all_of(), "heed report")
    script = """
<script>
for (const select of [...document.querySelectorAll('select')].filter((shown) => shown.offsetParent)) {
  for (const option of [...select.options].reverse()) {
    select.value = option.value;
    select.dispatchEvent(new Event('change'));
  }
}
document.documentElement.dataset.errors = pageErrors.length;
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const shown = Object.values(drawn).filter((of) => of.width > 100 && of.data.datasets.some((set) => set.data.length));
const svgs = Object.keys(pictures).filter((id) => drawn[id]).map((id) => pictureSvg(drawn[id], id));
Object.assign(document.documentElement.dataset, {wide, shown: shown.length,
  svgs: svgs.filter((svg) => !new DOMParser().parseFromString(svg, 'image/svg+xml').querySelector('parsererror')).length,
  numbers: Object.keys(drawn).map((id) => pictureCsv(drawn[id]).trim().split('\\n').length - 1).join(' ')});
</script>"""
    (tmp_path / "r.html").write_text(text.replace("</body>", script + "</body>"))
    dom = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        + [f"--window-size={width},2000", f"--user-data-dir={tmp_path}/profile"]
        + ["--dump-dom", f"file://{tmp_path}/r.html"],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    found = dict(
        re.findall(r'data-([a-z-]+)="([^"]*)"', re.search("<html[^>]*>", dom)[0])
    )
    assert found["errors"] == "0", found
    assert found["pictures"] == found["shown"] == found["svgs"] == "11", found
    # kernel, model, recall; lengths; positions; prediction, by layer; atlas; loss, margin; facts
    assert found["numbers"] == "1 3 2 2 3 3 2 20 3 3 2", found
    assert int(found["wide"]) <= 0
