# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Heads, attention and MLPs switched off. Skipped where torch is not installed."""

import base64
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from heed.models import ablation, facts, heads, maps, network  # noqa: E402
from heed.models import pruning  # noqa: E402
from heed.models.errors import InputError  # noqa: E402
from test_eval import SIZES, folder, save  # noqa: E402,F401


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


def test_taylor_without_heads(model):
    """A head that is off has none, and those left have that of the model without."""
    off = [(0, 1), (1, 0)]
    importance = ablation.taylor(model, [IDS], off)
    assert importance[0, 1] == importance[1, 0] == 0
    step = 1e-2

    def loss(gate):
        def edit(out):
            out[:, :, 0] = 0
            out[:, :, 3] *= gate
            return out

        edits = {0: ablation.switched_off([1]), 1: edit}
        return ablation.losses(model, ablation.run(model, IDS, edits), IDS).mean()

    slope = (loss(1 + step) - loss(1 - step)) / (2 * step)
    assert importance[1, 3] == pytest.approx(abs(slope), rel=0.05, abs=1e-4)


def test_iterated_taylor(model, monkeypatch):
    """Each tenth by the importance that is left without the tenths before."""
    every = [(layer, head) for layer in range(2) for head in range(4)]
    first = ablation.taylor(model, [IDS])
    once = ablation.iterated_taylor(model, [IDS], 1)
    assert once == sorted(every, key=lambda at: first[at])
    seen = []
    taylor = ablation.taylor

    def note(model, segments, off=()):
        seen.append(list(off))
        return taylor(model, segments, off)

    monkeypatch.setattr(ablation, "taylor", note)
    order = ablation.iterated_taylor(model, [IDS], 6)
    assert sorted(order) == every
    # Of 8 heads, tenths end at 1, 2, 2, 3, 4 and 5.
    assert seen == [order[:n] for n in (0, 1, 2, 2, 3, 4)]
    second = taylor(model, [IDS], order[:1])
    assert order[1] == min(order[1:], key=lambda at: second[at])


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


WIDE = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}


@pytest.mark.parametrize("kind", ["mistral", "gemma2"])
def test_weights_are_those_of_eager_attention(tmp_path, kind):
    if kind == "mistral":
        config = transformers.MistralConfig(**WIDE, sliding_window=8)
    else:
        config = transformers.Gemma2Config(
            **WIDE, sliding_window=8, attn_logit_softcapping=0.5, query_pre_attn_scalar=1
        )
    name = str(save(tmp_path, config))
    model = network.load(name)
    eager = transformers.AutoModelForCausalLM.from_pretrained(
        name, attn_implementation="eager", dtype=torch.float32
    ).eval()
    with torch.no_grad():
        want = eager(torch.tensor([IDS]), output_attentions=True).attentions
    for got, weights in zip(heads.observed(model, IDS, lambda w: w), want, strict=True):
        np.testing.assert_allclose(got, weights[0].numpy(), atol=2e-5)
    first = heads.observed(model, IDS, heads.head_scores.of_text)[0]
    assert (first["distance"] <= 7).all()
    np.testing.assert_allclose(first["local"], 1, rtol=1e-6)


def test_a_model_whose_weights_are_not_its_queries_and_keys(tmp_path, capsys):
    config = transformers.GptOssConfig(
        **WIDE, num_local_experts=2, num_experts_per_tok=1
    )
    name = str(save(tmp_path, config))
    argv = [name, "--text", str(tmp_path / "text.txt"), "-q"]
    out = tmp_path / "h.json"
    assert heads.main([*argv, "--tokens", "256", "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "layer 0: has learned sinks" in said and said.count("\n") == 1
    assert not out.exists()
    model = network.load(name)
    with pytest.raises(InputError, match="learned sinks"):
        heads.observed(model, IDS, lambda w: w)
    assert model.switch.observer is None
    model.hidden(IDS)  # without an observer it runs


@pytest.mark.parametrize("command", [heads, facts])
def test_places_that_cannot_be_written(folder, tmp_path, capsys, monkeypatch, command):  # noqa: F811
    def too_late(*_):
        raise AssertionError("the model was loaded first")

    monkeypatch.setattr(network, "load", too_late)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.partial").mkdir()
    argv = [str(folder), "--text", str(folder / "text.txt"), "-q"]
    for path, words in (
        (".", "--out .: is no file"),
        ("", "is no file"),
        ("none/x", "cannot be written"),
        ("x", "x.partial is a folder"),
    ):
        assert command.main([*argv, "--out", path]) == 1
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.partial"]


def test_texts_begin_as_the_models_do(folder, tmp_path, monkeypatch):  # noqa: F811
    model, seen = network.load(str(folder)), []
    model.prefix = [1]
    hidden = network.Model.hidden

    def note(self, ids):
        seen.append(list(ids))
        return hidden(self, ids)

    monkeypatch.setattr(network, "load", lambda *_: model)
    monkeypatch.setattr(network.Model, "hidden", note)
    monkeypatch.setattr(facts, "KNOWN", -np.inf)
    argv = [str(folder), "--text", str(folder / "text.txt"), "-q", "--out"]
    more = ["--tokens", "256"]
    assert heads.main([*argv, str(tmp_path / "h"), *more]) == 0
    assert len(seen) == 5 and all(ids[0] == 1 for ids in seen)
    seen.clear()
    few = ["--documents", "2", "--parts", "1", "--heads", "1"]
    assert facts.main([*argv, str(tmp_path / "f"), *few]) == 0
    assert seen and all(ids[0] == 1 and ids[1] != 1 for ids in seen)
    text = list(range(2, 400))
    pieces = heads.segments_of([1], [1, *text])
    assert [len(piece) for piece in pieces] == [128] * 3
    assert pieces[1] == [1, *text[127:254]]
    assert heads.segments_of([], text) == [text[:128], text[128:256], text[256:384]]


def test_the_command(folder, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "heads.json"
    argv = [str(folder), "--text", str(folder / "text.txt"), "--out", str(out), "-q"]
    page = tmp_path / "heads.html"
    argv += ["--tokens", "256", "--ablate", "zero", "--prune", "--html", str(page)]
    assert heads.main(argv) == 0
    result = json.loads(out.read_text())
    assert len(result["heads"]) == 8 and result["other_texts"] == []
    assert page.read_text().count("<td ") == 8 and "HEED_" not in page.read_text()
    assert page.read_text().count('role="button"') == 8
    found = result["pruning"]
    assert len(found["random"]) == pruning.DRAWS
    assert {"taylor", "iterated taylor", "ablation"} < set(found["curves"])
    for curve in found["curves"].values():
        assert [point["heads"] for point in curve] == [1, 2, 3, 5]
        assert all("other_loss" not in point for point in curve)
    assert result["ablation"]["by_chance"] == pytest.approx(8 * 0.05, rel=1e-3)
    shown = capsys.readouterr().out
    assert "retrieval score" in shown and "chance alone: 0.4" in shown
    assert heads.main([*argv, "--tokens", "9"]) == 1
    assert "--tokens" in capsys.readouterr().err


def test_two_texts(folder, tmp_path, capsys):  # noqa: F811
    out, page = tmp_path / "heads.json", tmp_path / "heads.html"
    text = (folder / "text.txt").read_text()
    (tmp_path / "other.txt").write_text(text[len(text) // 2 :])
    argv = [str(folder), "--text", str(folder / "text.txt"), "--out", str(out), "-q"]
    argv += ["--text", str(tmp_path / "other.txt"), "--tokens", "256", "--prune"]
    argv += ["--maps", "0", "--html", str(page)]
    assert heads.main(argv) == 0
    result = json.loads(out.read_text())
    assert "role=" not in page.read_text().split("<table")[1]
    (other,) = result["other_texts"]
    assert other["text"] == "other.txt" and len(other["heads"]) == 8
    # The same head, of which the texts say other numbers.
    assert other["heads"][3]["head"] == result["heads"][3]["head"] == 3
    assert other["heads"][3]["taylor"] != result["heads"][3]["taylor"]
    between = {r["a"]: r for r in result["rankings"] if "other text" in r["b"]}
    assert set(between) == {"taylor", "retrieval", "sink"}
    rho = heads.rankings([result["heads"], other["heads"]])[0]["rho"]
    assert between["taylor"]["rho"] == rho
    for curve in result["pruning"]["curves"].values():
        assert all(np.isfinite(point["other_loss"]) for point in curve)
    assert "taylor - taylor, other text" in capsys.readouterr().out
    # One after the other gives the numbers of each alone.
    alone = [*argv[:4], str(tmp_path / "one.json"), *argv[5:]]
    alone = [a for i, a in enumerate(alone) if i not in (1, 2) and a != "--prune"]
    assert heads.main(alone) == 0
    one = json.loads((tmp_path / "one.json").read_text())
    assert one["heads"] == other["heads"] and one["text"] == "other.txt"
    three = [*argv, "--text", str(out)]
    assert heads.main(three) == 1
    assert "one or two" in capsys.readouterr().err
    assert heads.main([*argv[:3], *argv[1:3], *argv[3:]]) == 1
    assert "given twice" in capsys.readouterr().err


def test_maps_of_a_model(model):
    shown = maps.of_text(model, IDS, 10)
    assert len(shown["tokens"]) == 10 and len(shown["heads"]) == 8
    assert shown["tokens"] == [model.tokenizer.decode([i]) for i in IDS[:10]]
    want = heads.observed(model, IDS[:10], lambda w: w)
    levels = np.frombuffer(base64.b64decode(shown["heads"][5]), np.uint8)
    rows, columns = np.tril_indices(10)
    got = (levels / 255.0) ** 2
    np.testing.assert_allclose(got, want[1][1][rows, columns], atol=0.005)


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
    assert result["baseline"]["needles_documents"] == 2
    assert 2 < result["baseline"]["facts_documents"] < result["baseline"]["facts_known"]
    # What is last in the model moves everything.
    last = rows["MLP off in layers 1-1"]
    assert last["loss"] != 0 and last["facts_margin"] != 0
    assert last["loss_error"] > 0 and last["needles_margin_error"] > 0
    random = [draw["loss"] for draw in result["draws"]]
    drawn = rows["3 random heads off, 8 draws"]
    assert drawn["loss"] == pytest.approx(np.mean(random))
    assert drawn["heads_off"] == rows["3 retrieval heads off"]["heads_off"] == 3


def test_drawn_heads():
    rng = np.random.default_rng(1)
    chosen = [(0, 1), (0, 2), (3, 0)]
    drawn = facts.drawn_like(chosen, 5, 4, rng)
    assert sorted(layer for layer, _ in drawn) == [0, 0, 3]
    assert not set(drawn) & set(chosen)
    # Layers that are masked nearly or wholly: the nearest lend theirs.
    for many, of_own in ((6, 3), (9, 0)):
        chosen = [(2, head) for head in range(many)] + [(3, 0)]
        drawn = facts.drawn_like(chosen, 5, 9, rng)
        assert len(set(drawn)) == len(chosen) and not set(drawn) & set(chosen)
        layers = [layer for layer, _ in drawn]
        assert layers.count(2) == of_own and set(layers) <= {1, 2, 3}
    assert len(facts.drawn_like([(0, h) for h in range(6)], 1, 9, rng)) == 3
    assert [list(r) for _, _, r in facts.ranges(5, 2)] == [[0, 1], [2, 3, 4]]
    assert [list(r) for _, _, r in facts.ranges(2, 3)] == [[0], [1]]
