# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed bars` of a tiny random model. Skipped where torch is not installed."""

import json
import pathlib

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from heed.models import ablation, bars, data, network  # noqa: E402
from heed.models.published import (
    antidiagonals,
    context,
    pruning,
    retrieval,
)  # noqa: E402
from heed.models.published.bar import NOT_COMPARABLE, Unable  # noqa: E402
from test_eval import folder  # noqa: E402,F401
from test_tasks import prose  # noqa: E402

TOKENS = 512


def arguments(folder, *more):  # noqa: F811
    argv = [str(folder), "--text", str(folder / "text.txt"), "-q", "--threads", "1"]
    return [*argv, "--tokens", str(TOKENS), *more]


@pytest.fixture(scope="module")
def made(folder):  # noqa: F811
    (folder / "text.txt").write_text(prose(3000))
    chosen = bars.parse(arguments(folder))
    return context.Context(chosen, (folder / "text.txt").read_text(), "text")


def test_losses_under_variants(made):
    exact = made.losses("exact")
    ids = made.ids(TOKENS)
    whole = ablation.losses(made.model, made.model.hidden(ids), ids)
    np.testing.assert_array_equal(exact, whole[(TOKENS - 1) // 2 :])
    wide = made.losses(f"window_sink:window={TOKENS}:sink=0")
    np.testing.assert_allclose(wide, exact, atol=1e-4)
    near = made.losses("window_sink:window=4:sink=0")
    assert np.abs(near - exact).max() > 0.01
    assert made.model.switch.variant is None
    with pytest.raises(Unable, match="more than the model's positions, 1024"):
        made.ids(1025)


def test_captured_tensors(made):
    layers = made.captured()
    assert [layer for layer, _, _ in layers] == [0, 1]
    assert made.captured_tokens == 2 * TOKENS
    q, k, v = layers[0][1]
    assert q.shape == (1, 4, 2 * TOKENS, 8) and k.shape == v.shape == (
        1,
        2,
        2 * TOKENS,
        8,
    )
    (density, mass), _ = made.kept("xattention:threshold=1:block=32:stride=8", 256)
    assert density == pytest.approx(1) and mass == pytest.approx(1, abs=1e-5)
    found = made.kept("window_sink:window=64:sink=0", 256)
    want = (64 * 65 / 2 + (256 - 64) * 64) / (256 * 257 / 2)
    _, (q, k, _), more = made.captured(256)[1]
    weights = (q[0] @ k[0].repeat_interleave(2, 0).transpose(1, 2)).numpy()
    weights = np.exp(weights.astype(np.float64) * more["softmax_scale"])
    seen = np.tril(np.ones((256, 256)))
    share = (weights * np.triu(seen, -63)).sum(2) / (weights * seen).sum(2)
    assert found[1] == pytest.approx((want, share.mean()), rel=1e-5)


def test_needles_are_of_two_halves(made):
    first, second = made.needles(2, 512, 0), made.needles(2, 512, 1)
    assert len(first) == len(second) == 2
    assert all(a.ids != b.ids for a in first for b in second)
    again = made.needles(2, 512, 0)
    assert [d.ids for d in again] == [d.ids for d in first]


def test_heads_that_are_taken_away(made, monkeypatch):
    found = pruning.measure(made)
    assert found["heads"] == 8 and [p["share"] for p in found["points"]] == [0.2, 0.4]
    ids = made.ids(2 * pruning.TOKENS)
    rest = ids[pruning.TOKENS :]
    importance = ablation.taylor(
        made.model, [rest[i : i + 128] for i in range(0, 512, 128)]
    )
    order = [divmod(int(i), 4) for i in np.argsort(importance, axis=None)]
    scored = ids[: pruning.TOKENS]
    before = ablation.losses(made.model, made.model.hidden(scored), scored)
    for point, count in zip(found["points"], (2, 3)):
        edits = ablation.edits_of(order[:count])
        after = ablation.losses(
            made.model, ablation.run(made.model, scored, edits), scored
        )
        assert point["loss"] == pytest.approx((after - before).mean())
        assert len(point["draws"]) == 8 and np.std(point["draws"]) > 0
    # A random model finds no needle, unless everything counts as found.
    with pytest.raises(Unable, match="cannot do the needle"):
        retrieval.measure_masked(made)
    monkeypatch.setattr(retrieval.scores, "can_do", lambda summary: True)
    found = retrieval.measure_masked(made)
    assert found["masked"] == 1 and len(found["draws"]) == 8
    assert found["change"] != 0 and found["change_error"] > 0
    assert bars.BARS["retrieval_masked"].judge(found)


RAN = ["sinks", "retrieval_share", "xattention_density", "recall", "precision"]


def test_the_command(folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    (folder / "text.txt").write_text(prose(3000))
    out, page = tmp_path / "bars.jsonl", tmp_path / "bars.json"
    monkeypatch.setattr(antidiagonals, "LENGTH", 1024)
    monkeypatch.setattr(bars.recall, "DIMS", (16, 64))
    monkeypatch.setattr(bars.precision, "SHAPES", [(128, 64, True), (128, 64, False)])
    argv = arguments(folder, "--out", str(out), "--json", str(page), "--only", *RAN)
    assert bars.main(argv) == 0
    said = capsys.readouterr().out
    result = json.loads(page.read_text())
    found = {bar["bar"]: bar for bar in result["bars"]}
    assert list(found) == RAN and all(bars.BARS[name].title in said for name in RAN)
    # 512 tokens are too few for windows of 512.
    assert found["sinks"]["label"] == NOT_COMPARABLE
    assert "--tokens 1024" in found["sinks"]["reason"] and "--tokens 1024" in said
    assert found["precision"]["ours"] > 1.7 and found["precision"]["label"] == "redone"
    densities = found["xattention_density"]["measured"]["lengths"]
    assert [p["tokens"] for p in densities] == [256, 512, 1024]
    assert all(0 < p["density"] <= 1 for p in densities)
    entries = [json.loads(line) for line in out.read_text().splitlines()]
    assert [e["spec"] for e in entries if "key" in e] == RAN
    assert result["run"]["cases"] == [e["key"] for e in entries if "key" in e]
    # Again: what is there is not measured again, whatever cannot be measured is.
    monkeypatch.setattr(network, "load", lambda *_: pytest.fail("loads a model"))
    assert bars.main(argv) == 0
    again = {bar["bar"]: bar for bar in json.loads(page.read_text())["bars"]}
    for name in RAN[1:]:
        assert again[name] == found[name]
    few = arguments(folder, "--out", str(out), "--seed", "2", "--only", "recall")
    assert bars.main(few) == 0
    entries = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({e["key"] for e in entries if e.get("spec") == "recall"}) == 2


def test_results_that_are_there(folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(network, "load", lambda *_: pytest.fail("loads a model"))
    heads = [{"retrieval": 0.2}, *[{"retrieval": 0.0}] * 19]
    sha256 = context.model_sha256(str(folder))
    _, _, text_sha256 = data.read_text(str(folder / "text.txt"))
    content = {"model": "tiny", "model_sha256": sha256, "heads": heads}
    content.update(text="prose", text_sha256=text_sha256)
    (tmp_path / "heads.json").write_text(json.dumps(content))
    out = tmp_path / "bars.jsonl"
    argv = arguments(folder, "--out", str(out), "--only", "retrieval_share")
    argv += ["--folder", str(tmp_path)]
    assert bars.main(argv) == 0
    said = capsys.readouterr().out
    assert "redone" in said and "taken from heads.json" in said
    (entry,) = [e for e in map(json.loads, out.read_text().splitlines()) if "key" in e]
    assert entry["accuracy"]["share"] == 0.05
    assert entry["accuracy"]["taken_from"] == "heads.json"
    # Other results: another key. Those of another model are refused.
    content["heads"] = heads[1:]
    (tmp_path / "heads.json").write_text(json.dumps(content))
    assert bars.main(argv) == 0
    assert "not seen" in capsys.readouterr().out
    (tmp_path / "heads.json").write_text(json.dumps({**content, "model_sha256": "x"}))
    assert bars.main(argv) == 1
    assert "is of another model" in capsys.readouterr().err


def test_too_long_for_the_model(folder, tmp_path, capsys):  # noqa: F811
    argv = arguments(folder, "--out", str(tmp_path / "b"), "--only", "retrieval_share")
    assert bars.main([*argv, "--tokens", "2000"]) == 1
    said = capsys.readouterr().err
    assert "more than the model's 1024 positions" in said and said.count("\n") == 1


def test_lengths_of_captured_tensors(folder, tmp_path, monkeypatch):  # noqa: F811
    """heed compare on what was captured: the sweep that the rule reads."""
    from heed import _command

    if not pathlib.Path(_command.path()).is_file():
        pytest.skip("the tool is not beside the package")
    monkeypatch.setattr(bars.lengths, "LONG", 1024)
    (folder / "text.txt").write_text(prose(3000))
    out, page = tmp_path / "b.jsonl", tmp_path / "b.json"
    argv = arguments(folder, "--out", str(out), "--json", str(page))
    assert bars.main([*argv, "--only", "sparse_length"]) == 0
    (found,) = json.loads(page.read_text())["bars"]
    assert found["measured"]["lengths"] == [256, 512, 1024]
    assert 0 < found["measured"]["choosing"] < 1 and found["label"] != NOT_COMPARABLE
