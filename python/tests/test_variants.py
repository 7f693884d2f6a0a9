# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Variants by name, the comparison, and the command."""

import pathlib
import subprocess
import sys

import numpy as np
import oracle
import pytest

import heed


def test_variants_are_listed():
    listed = {entry["name"]: entry for entry in heed.variants()}
    assert listed["exact"]["semantics"] == "exact"
    knobs = {k["name"]: k for k in listed["window_sink"]["knobs"]}
    assert knobs["window"]["default"] == 256 and knobs["sink"]["exact"] is None
    assert all(entry["summary"] and entry["paper"] for entry in listed.values())


@pytest.mark.parametrize("entry", heed.variants(), ids=lambda entry: entry["name"])
def test_every_variant_runs(qkv, entry):
    q, k, v = qkv(batch=1, rows=40, keys=40)
    name = entry["name"]
    run = heed.run_variant(name, q, k, v, causal=entry["causal"])
    assert run.out.shape == q.shape and np.isfinite(run.out).all()
    assert run.spec.split(":")[0] == name
    assert run.cost["flops"] > 0 and sum(run.phases.values()) > 0


def test_a_variant_without_a_causal_form_refuses_causal_calls(qkv):
    q, k, v = qkv(rows=40, keys=40)
    with pytest.raises(ValueError, match="causal: must be false"):
        heed.run_variant("linformer", q, k, v, causal=True)


def test_a_selection_says_what_was_kept(qkv):
    q, k, v = qkv(rows=40, keys=40)
    run = heed.run_variant("quest:token_budget=16:page_size=8", q, k, v, causal=True)
    mask = run.mask()
    assert mask.shape == (2, 4, 40, 40)
    visible = oracle.visible(40, 40, causal=True)
    assert not (mask & ~visible).any() and mask.any(3).all()
    assert run.density == pytest.approx(mask.sum() / (visible.sum() * 8))
    assert run.density < 0.9
    truth, lse = oracle.attention(q, k, v, causal=True, mask=mask)
    np.testing.assert_allclose(run.out, truth, atol=4e-6)
    np.testing.assert_allclose(run.lse, lse, atol=4e-6)
    assert run.phases["select"] > 0
    without = heed.run_variant(
        "quest:token_budget=16:page_size=8", q, k, v, causal=True, record=False
    )
    assert (without.out == run.out).all() and without.density is None
    with pytest.raises(ValueError, match="no selection"):
        without.mask()


def test_inputs_of_a_variant(qkv, rng):
    q, k, v = qkv(batch=1, heads=2, kv_heads=2)
    entry = next(e for e in heed.variants() if e["name"] == "retnet" or e["inputs"])
    gates = {
        i["name"]: rng.random((1, 13, 2, 16 if i["per_channel"] else 1)).astype("f4")
        * 0.1
        for i in entry["inputs"]
    }
    if not any(i["weights"] for i in entry["inputs"]):
        a = heed.run_variant(entry["name"], q, k, v, inputs=gates)
        b = heed.run_variant(entry["name"], q, k, v)
        assert (a.out != b.out).any()
    with pytest.raises(ValueError, match="has no 'none'"):
        heed.run_variant(entry["name"], q, k, v, inputs={"none": q})


@pytest.mark.parametrize(
    "spec, words",
    [
        ("quests", "did you mean"),
        ("quest:budgets=3", "token_budget"),
        ("quest:token_budget=x", "number"),
        ("window_sink:window=1,2", "several"),
        ("window_sink:window=0", "window"),
        ("", "spec"),
    ],
)
def test_specs_that_are_refused(qkv, spec, words):
    with pytest.raises(ValueError, match=words):
        heed.run_variant(spec, *qkv())


def test_variants_take_float32(qkv):
    with pytest.raises(ValueError, match="f32"):
        heed.run_variant("exact", *(x.astype(np.float16) for x in qkv()))


def test_compare(qkv):
    q, k, v = qkv(batch=1, rows=64, keys=64)
    result = heed.compare(
        q, k, v, variants=["window_sink:window=8,64:sink=0", "exact"], repeats=1
    )
    assert [row["variant"] for row in result] == ["exact"] + ["window_sink"] * 2 or len(
        result
    ) == 3
    by_name = {row["name"]: row for row in result}
    narrow = next(row for name, row in by_name.items() if "window=8" in name)
    assert narrow["gate"] == "ok" and narrow["rel_l2"] > 0.01
    assert narrow["density"] < 0.3 and narrow["time"] > 0
    assert by_name["exact"]["rel_l2"] < 1e-5
    assert result.html.lstrip().lower().startswith("<!doctype html")
    assert "srcdoc" in result._repr_html_() and "exact" in str(result)


def test_compare_refuses(qkv):
    q, k, v = qkv(batch=1)
    with pytest.raises(ValueError, match="all three"):
        heed.compare(q, k)
    with pytest.raises(ValueError, match="one of them"):
        heed.compare(q, k, v, problem="b1_h2_kv1_d8_q4_k4_f32")
    for given in ({"window_left": 4}, {"softmax_scale": 2.0}, {"causal": False}):
        words = f"{next(iter(given))}: not with a problem"
        with pytest.raises(ValueError, match=words):
            heed.compare(problem="b1_h2_kv1_d8_q4_k4_f32", **given)
    with pytest.raises(ValueError, match="nonesuch"):
        heed.compare(q, k, v, variants="nonesuch")


def test_the_command():
    listed = subprocess.run(
        [sys.executable, "-m", "heed", "variants"], capture_output=True, text=True
    )
    assert listed.returncode == 0 and "window_sink" in listed.stdout
    command = pathlib.Path(sys.executable).parent / "heed"
    info = subprocess.run([command, "info"], capture_output=True, text=True)
    assert info.returncode == 0 and heed.info()["target"] in info.stdout
