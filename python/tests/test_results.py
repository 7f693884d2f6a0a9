# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Files of results, what they must hold, and the verdicts that are read from them."""

import importlib
import json
import pathlib

import pytest

import heed
from heed.models import ahead, data, options, places, results, rows, scores
from heed.models import summary as summaries, written
from heed.models.errors import InputError
from test_models import items, made_up_run, result

LM = {
    "kld": 0.01,
    "kld_error": 0.001,
    "ln_ratio": 0.01,
    "ln_ratio_error": 0.01,
    "same_top": 0.9,
    "positions": [],
}


def line(**changes):
    return json.dumps({**result("v:k=1", "lm", LM), **changes}) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "notes",
        "two lines\nof notes",
        "two lines\nof notes\n",
        "\nnotes",
        '{"command": "heed heads", "heads": []}',
        "{}\n",
    ],
)
def test_a_file_of_another_is_left(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    for fresh in (False, True):
        with pytest.raises(InputError, match="is no file of results"):
            results.Store(path, fresh)
        assert path.read_text() == text
    path.write_text("")
    results.Store(path).close()


@pytest.mark.parametrize("tail", ['{"ke', '{"run":{"comm', '{"key":"c","sta'])
def test_what_a_killed_run_left_is_cut(tmp_path, tail):
    for before in ("", line()):
        path = tmp_path / "r.jsonl"
        path.write_text(before + tail)
        store = results.Store(path)
        assert path.read_text() == before + tail
        store.append(json.loads(line(key="d")))
        store.close()
        keys = [entry["key"] for entry in results.read_lines(path)[0]]
        assert keys[-1] == "d" and len(keys) == 1 + bool(before)


def test_one_process_writes_a_file(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(line())
    first = results.Store(path)
    with pytest.raises(InputError, match="another run writes it now"):
        results.Store(path)
    first.append(json.loads(line(key="b")))
    first.close()
    second = results.Store(path)
    assert second.find("b")["status"] == "OK"
    second.close()


def test_a_file_that_came_in_between(tmp_path):
    path = tmp_path / "r.jsonl"
    early, late = results.Store(path), results.Store(path)
    early.append(json.loads(line(key="a")))
    with pytest.raises(InputError, match="another run writes it now"):
        late.append(json.loads(line(key="b")))
    early.close()
    late.close()
    late = results.Store(tmp_path / "s.jsonl")
    (tmp_path / "s.jsonl").write_text(line())
    with pytest.raises(InputError, match="since this one"):
        late.append(json.loads(line(key="b")))
    late.close()
    assert (tmp_path / "s.jsonl").read_text() == line()


@pytest.mark.parametrize(
    "text, words",
    [
        (line(key=["a"]), "key"),
        (line(accuracy=None), "accuracy"),
        (line(accuracy={**LM, "kld": "0.1"}), "accuracy.kld"),
        (line(accuracy={**LM, "kld": True}), "accuracy.kld"),
        (line(accuracy={k: v for k, v in LM.items() if k != "kld"}), "accuracy.kld"),
        (line(cost=[]), "cost"),
        (line(status=5), "status"),
        (line(status="FINE"), "status"),
        (line(status="OOM", reason=5), "reason"),
        (line(spec=None), "spec"),
        (line(task="needle"), "accuracy.items"),
        (line(task="kernel"), "accuracy.density"),
        ('{"key":5}\n', "key"),
        ('{"run":5}\n', "run"),
        ('{"run":{"cases":"a"}}\n', "run.cases"),
        ('{"run":{"cases":[["a"]]}}\n', "run.cases"),
        ('{"run":{"cases":[],"asked":5}}\n', "run.asked"),
        ('{"run":{"cases":[],"asked":[["lm"]]}}\n', "run.asked"),
        ('{"run":{"cases":[],"asked":[["lm",5]]}}\n', "run.asked"),
    ],
)
def test_lines_of_other_types(tmp_path, text, words):
    path = tmp_path / "r.jsonl"
    path.write_text(line() + text)
    with pytest.raises(InputError, match=rf"line 2 is no result \({words}\)"):
        results.Store(path)
    assert path.read_text() == line() + text
    results.Store(path, fresh=True).close()


def test_what_runs_write_is_a_result(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in made_up_run()))
    assert len(results.read_lines(path)[0]) == len(made_up_run())


def near(entries):
    return next(r for r in rows.rows_of(entries) if r["spec"] == "near:k=1")


def kept_run():
    """A run in which near:k=1 does as well as exact attention, on two texts."""
    entries = made_up_run()
    exact = next(e for e in entries if e.get("key") == "exact/needle/t")
    for entry in entries:
        if entry.get("key") == "near:k=1/needle/t":
            grid = [[*row[:3], 1.1 * row[3], *row[4:]] for row in exact["accuracy"]["grid"]]
            entry["accuracy"] = {**exact["accuracy"], "grid": grid}
    more = [
        {**e, "key": e["key"] + "2", "input": "t2"}
        for e in entries
        if e.get("task") == "lm" and e["input"] == "t"
    ]
    entries[0]["run"]["cases"] += [e["key"] for e in more]
    return entries + more


def test_a_verdict_waits_for_every_text():
    entries = kept_run()
    assert near(entries)["verdict"] == "kept"
    left = [e for e in entries if e.get("key") != "near:k=1/lm/t2"]
    assert near(left)["verdict"] == "none"
    for key in ("near:k=1/lm/t2", "near:k=1/kv/t", "exact/lm/t2"):
        assert near(without(entries, key))["verdict"] == "none", key


def test_a_verdict_waits_for_what_a_run_was_asked():
    entries = kept_run()
    entries[0]["run"]["asked"] = [["lm", "t"], ["lm", "t2"], ["needle", "t"], ["kv", "t"]]
    assert near(entries)["verdict"] == "kept"
    entries[0]["run"]["asked"].append(["passkey", "t"])  # killed before it
    entries[0]["run"]["cases"] += ["exact/passkey/t", "near:k=1/passkey/t"]
    assert near(entries)["verdict"] == "none"
    assert any(
        line.startswith("2 of ") and line.endswith("cases were not run")
        for line in summaries.of(entries)["warnings"]
    )


def test_a_verdict_is_of_every_text():
    entries = kept_run()
    for entry in entries:
        if entry.get("key") == "near:k=1/lm/t2":
            entry["accuracy"] = {**entry["accuracy"], "kld": 0.009, "kld_error": 0.1}
    row = near(entries)
    assert row["kld"] == 0.01 and row["verdict"] == "undecided"


def test_the_worst_task_is_one_that_was_tested():
    entries = kept_run()
    exact = next(e for e in entries if e.get("key") == "exact/needle/t")
    for entry in kept_run():
        if entry.get("task") == "needle":  # all ask another task beside it, untouched
            other = {**exact["accuracy"]} if entry["spec"] == "near:k=1" else entry["accuracy"]
            key = entry["key"].replace("needle", "also")
            entries.append({**entry, "task": "also", "key": key, "accuracy": other})
            entries[0]["run"]["cases"].append(key)
    row = near(entries)
    assert row["tasks"]["also"]["tested"] is False and row["tasks"]["needle"]["tested"]
    assert row["worst_task"] == "needle" and row["worst_tested"]


def test_a_task_that_ends_before_what_is_left_out_is_not_tested():
    entries = kept_run()
    exact = next(e for e in entries if e.get("key") == "exact/needle/t")
    for entry in entries:
        if entry.get("key") == "near:k=1/needle/t":
            entry["accuracy"] = exact["accuracy"]
    row = near(entries)
    assert row["verdict"] == "undecided" and row["worst_share"] == 1
    assert row["worst_share_error"] is None and row["worst_tested"] is False
    assert "not tested" in rows.text_table([row])
    for entry in entries:  # exact attention in other roundings
        if str(entry.get("key")).startswith("near:k=1/lm/"):
            entry["accuracy"] = {**entry["accuracy"], "kld": 1e-9}
    assert near(entries)["verdict"] == "kept" and near(entries)["worst_tested"]


REFUSED = {"status": "NUMERICAL", "reason": "x", "accuracy": None, "cost": None}


def without(entries, key):
    """The entries, one of them refused."""
    return [{**e, **REFUSED} if e.get("key") == key else e for e in entries]


def test_refused_numbers_of_attention_leave_the_text_valid():
    entries = without(kept_run(), "near:k=1/kernel/t")
    row = near(entries)
    assert row["verdict"] == "kept" and row["refused"] is None
    assert row["kernel"] is None and row["beneath_refused"] == "x"
    table = rows.rows_of(entries)
    cells = {name: read(row) for name, read in rows.columns(table)}
    assert cells["density"] == cells["mass"] == "refused" and cells["verdict"] == "kept"
    assert "near:k=1: numbers of attention refused: x" in rows.warnings(table)
    assert "near:k=1: refused: x" not in rows.warnings(table)
    text = near(without(kept_run(), "near:k=1/lm/t"))
    assert text["refused"] == "x" and text["beneath_refused"] is None


def grid_of(found):
    return [[i["document"], n, n / 20, i["margin"], 9] for n, i in enumerate(found)]


def summary(rights, documents):
    found = [
        {**items(0)[0], "document": d, "right": r, "margin": 1.0 if r else -1.0}
        for r, d in zip(rights, documents)
    ]
    return {**scores.task_summary(found), "grid": grid_of(found)}


def test_error_of_what_is_retained():
    one = [0] * 40
    exact, other = summary([1] * 40, one), summary([1] * 37 + [0] * 3, one)
    share, error = scores.retained(exact, other), scores.retained_error(exact, other)
    assert share == pytest.approx((37 / 40 - 0.125) / 0.875)
    # Exact is always right: the error is that of the other's share of right ones.
    spread = (37 * (3 / 40) ** 2 + 3 * (37 / 40) ** 2) / 39 / 40
    assert error == pytest.approx(spread**0.5 / 0.875)
    # Three misses in one of four documents weigh more than three that are spread.
    four = [i * 4 // 40 for i in range(40)]
    together = scores.retained_error(summary([1] * 40, four), summary(other_of(40), four))
    assert together > 1.2 * error
    assert scores.retained_error(exact, exact) == 0
    alone = summary([1], [0])
    assert scores.retained_error(alone, alone) is None


def other_of(count):
    return [1] * (count - 3) + [0] * 3


def test_items_of_a_document_hang_together():
    spread = summary([1, 1, 1, 0] * 8, [i // 8 for i in range(32)])
    assert scores.independent_items(spread) == 32 and scores.can_do(spread)
    apart = summary([1] * 24 + [0] * 8, [i // 8 for i in range(32)])
    assert 2 < scores.independent_items(apart) < 6 and not scores.can_do(apart)


def test_verdicts_by_bounds():
    sure = [(1.0, 0.01)]
    assert scores.verdict([(0.01, 0.001)], sure) == "kept"
    assert scores.verdict([(0.01, 0.02)], sure) == "undecided"
    assert scores.verdict([(0.01, None)], sure) == "undecided"
    assert scores.verdict([(0.01, 0.001)], [(0.91, 0.03)]) == "undecided"
    assert scores.verdict([(0.01, 0.001)], [(0.91, None)]) == "undecided"
    assert scores.verdict([(0.01, 0.001)], [*sure, (0.5, 0.1)]) == "recall lost"
    assert scores.verdict([(0.01, 0.001)], [(0.85, 0.1), *sure]) == "undecided"
    assert scores.verdict([(0.5, 0.01)], [(0.91, 0.03)]) == "text lost"
    assert scores.verdict([(0.5, 0.01)], [(0.1, 0.03)]) == "both lost"
    assert scores.verdict([(0.01, 0.001)], []) == "none"
    assert scores.verdict([], sure) == "none"


def test_one_document_is_said():
    entries = made_up_run()
    for entry in entries:
        if entry.get("task") == "needle":
            entry["accuracy"].update(documents=1, accuracy_error=None)
    found = rows.warnings(rows.rows_of(entries))
    assert any(line.startswith("needle: one document") for line in found)
    assert min(options.PRESETS["quick"]["documents"].values()) >= 2


def test_a_result_is_written_whole_or_not_at_all(tmp_path):
    there = tmp_path / "r.json"
    written.write("--json", str(there), {"a": 1})
    assert json.loads(there.read_text()) == {"a": 1}
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "r.json", tmp_path / "folder"):
        with pytest.raises(InputError, match=f"^--json {path}: "):
            written.write("--json", str(path), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "r.json"]


def test_who_looks_ahead():
    for spec in ("block_topk:total_blocks=8", "xattention:threshold=0.9"):
        assert ahead.looks_ahead(spec, 2048), spec
    for spec in ("exact", "window_sink:window=256", "quest:token_budget=512"):
        assert not ahead.looks_ahead(spec, 1024), spec
    # Where the budget takes all blocks nothing is chosen.
    assert not ahead.looks_ahead("block_topk:total_blocks=16", 1024)
    refusing = [v["name"] for v in heed.variants() if not v["causal"]]
    assert not any(ahead.looks_ahead(name, 256) for name in refusing)


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--threads", "0"], "--threads: '0' is no whole number of 1 to"),
        (["--threads", "100000"], "--threads: '100000'"),
        (["--seed", "-1"], "--seed: '-1' is no whole number from 0 on"),
        (["--tokens", "0"], "--tokens: '0'"),
        (["--length", "0"], "--length: '0'"),
        (["--tokens", "²"], "--tokens: '²'"),
        (["--tasks", ""], "--tasks : is none of"),
        (["--tasks", "lm,lm"], "--tasks lm: is given twice"),
        (["--text", "moby", "--text", "moby"], "--text moby: is given twice"),
        (["--text", "a.txt", "--text", "./a.txt"], "--text ./a.txt: is given twice"),
    ],
)
def test_options_out_of_bounds(argv, words):
    with pytest.raises(InputError) as error:
        options.parse(argv)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_numbers_of_places(tmp_path):
    for text in ("0 1", "0 - 1 2", "²", "-", "", "9" * 5000):
        with pytest.raises(InputError, match="--where layers"):
            places.parse_layers(text, 5, "--where layers")
    assert places.parse_layers("0 - 1, 3", 5, "x") == {0, 1, 3}
    for text in ("0 ²", "² 0", "0 " + "9" * 5000):
        (tmp_path / "heads").write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="line 1 is not 'layer head'"):
            places.parse_heads(tmp_path / "heads", 5, 4)


def test_what_a_models_folder_is_known_by(tmp_path):
    names = ("model.safetensors", "config.json", "tokenizer.json", "vocab.txt")
    for name in names:
        (tmp_path / name).write_text("1")
    seen = {data.sha256_of_folder(tmp_path)}
    (tmp_path / "README.md").write_text("2")
    (tmp_path / "heads.json").write_text("2")
    assert data.sha256_of_folder(tmp_path) in seen
    for name in names:
        (tmp_path / name).write_text("2")
        seen.add(data.sha256_of_folder(tmp_path))
    assert len(seen) == 1 + len(names)
    assert data.sha256_of_folder("a/name") != data.sha256_of_folder("another")


ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not (ROOT / "bench").is_dir(), reason="needs a checkout")
def test_a_page_of_several_folders(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    page = importlib.import_module("models_page")
    text = page.PAGE.read_text()
    assert page.page(text) == text
    kept = max(page.RESULTS.glob("*/eval.json")).parent
    (tmp_path / "unfinished").mkdir()
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    made = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        for file in kept.iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
        made.append(page.page(text))
    alone, both = made
    assert both.index("**another**") < both.index("**one**")
    assert both.count("| `exact` |") == 2 * alone.count("| `exact` |") > 0
