# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Heads, attention and MLPs switched off. Skipped where torch is not installed."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from heed.models import ablation, facts, heads, network  # noqa: E402
from test_eval import folder  # noqa: E402,F401


@pytest.fixture(scope="module")
def model(folder):  # noqa: F811
    return network.load(str(folder))


IDS = [(11 * i) % 90 + 3 for i in range(70)]


def by_weights(model, ids, layer, head):
    """Losses where the output projection has zeros for a head."""
    weight = model.model.base_model.layers[layer].self_attn.o_proj.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[:, 8 * head : 8 * head + 8] = 0
        hidden = model.hidden(ids)
        weight.copy_(kept)
    return ablation.losses(model, hidden, ids)


def test_losses(model):
    logits = model.model(torch.tensor([IDS]), use_cache=False).logits[0, :-1].detach()
    want = torch.nn.functional.cross_entropy(
        logits, torch.tensor(IDS[1:]), reduction="none"
    )
    got = ablation.losses(model, model.hidden(IDS), IDS)
    np.testing.assert_allclose(got, want.numpy(), atol=1e-4)


def test_ablation_by_zero(model):
    before = ablation.losses(model, model.hidden(IDS), IDS)
    table = ablation.each_head(model, IDS, "zero")
    assert [len(row) for row in table] == [4, 4]
    for layer in range(2):
        for head in range(4):
            change = by_weights(model, IDS, layer, head) - before
            error = change.std(ddof=1) / np.sqrt(len(change))
            got = table[layer][head]
            np.testing.assert_allclose(got, (change.mean(), error), atol=1e-4)
    after = ablation.losses(model, model.hidden(IDS), IDS)
    np.testing.assert_array_equal(after, before)


def test_ablation_by_mean(model):
    """A head whose result is its mean anyway is not missed."""
    means = ablation.mean_outputs(model, IDS)
    edits = ablation.edits_of([(1, 2)], means)
    first = ablation.run(model, IDS, edits)
    hidden = {}

    def constant(out):
        out[:, :, 2] = means[1][2]
        hidden["out"] = out.clone()
        return out

    again = ablation.run(model, IDS, {1: constant})
    torch.testing.assert_close(first, again)
    assert not torch.equal(first, model.hidden(IDS))
    assert hidden["out"].shape == (1, 70, 4, 8)


def test_taylor_is_the_slope(model):
    """Against finite differences of a gate on one head."""
    importance = ablation.taylor(model, [IDS])
    layer, head, step = 1, 3, 1e-2

    def loss(gate):
        def edit(out):
            out[:, :, head] *= gate
            return out

        hidden = ablation.run(model, IDS, {layer: edit})
        return ablation.losses(model, hidden, IDS).mean()

    slope = (loss(1 + step) - loss(1 - step)) / (2 * step)
    assert importance[layer, head] == pytest.approx(abs(slope), rel=0.05, abs=1e-4)


def test_parts_that_are_off(model):
    whole = model.hidden(IDS)
    everything = {"attention_off": range(2), "mlp_off": range(2)}
    with facts.changed(model, **everything):
        bare = model.hidden(IDS)
    base = model.model.base_model
    with torch.no_grad():
        want = base.norm(base.embed_tokens(torch.tensor(IDS)))
    torch.testing.assert_close(bare, want)
    torch.testing.assert_close(model.hidden(IDS), whole)
    with facts.changed(model, window=[0]):
        torch.testing.assert_close(model.hidden(IDS)[:60], whole[:60])
        assert not torch.equal(model.hidden(IDS)[68:], whole[68:])


def test_weights(model):
    seen = heads.observed(model, IDS, lambda w: w)
    assert [w.shape for w in seen] == [(4, 70, 70)] * 2
    for weights in seen:
        np.testing.assert_allclose(weights.sum(2), 1, rtol=1e-5)
        assert (np.triu(weights, 1) == 0).all()


def test_the_command(folder, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "heads.json"
    argv = [str(folder), "--text", str(folder / "text.txt"), "--out", str(out), "-q"]
    page = tmp_path / "heads.html"
    argv += ["--tokens", "256", "--ablate", "zero", "--prune", "--html", str(page)]
    assert heads.main(argv) == 0
    result = json.loads(out.read_text())
    assert len(result["heads"]) == 8
    assert page.read_text().count("<td ") == 8 and "HEED_" not in page.read_text()
    assert len(result["pruning"]["random"]) == heads.DRAWS
    assert result["ablation"]["by_chance"] == pytest.approx(8 * 0.05, rel=1e-3)
    assert "retrieval score" in capsys.readouterr().out
    assert heads.main([*argv, "--tokens", "9"]) == 1
    assert "--tokens" in capsys.readouterr().err


def test_facts(folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    out = tmp_path / "f.json"
    argv = [str(folder), "--text", str(folder / "text.txt"), "-q", "--out", str(out)]
    argv += ["--documents", "2", "--parts", "2", "--heads", "3"]
    # A random model knows next to nothing,
    assert facts.main(argv) == 1
    assert "capitals" in capsys.readouterr().err and not out.exists()
    # or else everything is called known.
    monkeypatch.setattr(facts, "KNOWN", -np.inf)
    assert facts.main(argv) == 0
    result = json.loads(out.read_text())
    rows = {row["name"]: row for row in result["rows"]}
    assert len(rows) == 1 + 2 + 2 + 2 + 2
    assert len(result["draws"]) == 8 and len(result["retrieval_heads"]) == 3
    assert result["baseline"]["facts_known"] == result["baseline"]["facts_asked"] > 60
    # What is last in the model moves everything.
    last = rows["MLP off in layers 1-1"]
    assert last["loss"] != 0 and last["facts_margin"] != 0
    assert last["loss_error"] > 0 and last["needles_margin_error"] > 0
    random = [draw["loss"] for draw in result["draws"]]
    assert rows["random heads off, 8 draws"]["loss"] == pytest.approx(np.mean(random))


def test_drawn_heads():
    rng = np.random.default_rng(1)
    chosen = [(0, 1), (0, 2), (3, 0)]
    drawn = facts.drawn_like(chosen, 4, rng)
    assert sorted(layer for layer, _ in drawn) == [0, 0, 3]
    assert not set(drawn) & set(chosen)
    assert [list(r) for _, _, r in facts.ranges(5, 2)] == [[0, 1], [2, 3, 4]]
    assert [list(r) for _, _, r in facts.ranges(2, 3)] == [[0], [1]]
