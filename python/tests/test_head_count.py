# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The study of head counts, made small. Skipped where torch is not installed."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "bench/studies/head_count.py"
if not SCRIPT.is_file():
    pytest.skip("needs a checkout", allow_module_level=True)

from heed.models import network  # noqa: E402
from heed.models.errors import InputError  # noqa: E402
from test_tasks import prose  # noqa: E402


@pytest.fixture
def study(monkeypatch):
    spec = importlib.util.spec_from_file_location("head_count", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in (("WIDTH", 32), ("LAYERS", 2), ("CONTEXT", 32), ("WINDOWS", 8)):
        monkeypatch.setattr(module, name, value)
    module.heed.hf.register()
    return module


def test_models_differ_in_heads_alone(study):
    one, four, other = (study.model_of(h, s) for h, s in ((1, 5), (4, 5), (4, 6)))
    weights = [dict(m.named_parameters()) for m in (one, four, other)]
    assert all(torch.equal(weights[0][name], x) for name, x in weights[1].items())
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert not torch.allclose(one(ids).logits, four(ids).logits, atol=1e-3)


@pytest.mark.parametrize("heads", [1, 4, 16])
def test_gradients(study, heads):
    batch = torch.randint(0, 256, (2, 33), generator=torch.Generator().manual_seed(1))
    calls = torch.ops.heed.attention.default
    with torch.profiler.profile() as profile:
        error = study.gradient_error(heads, 3, batch)
    assert 0 < error < 1e-5
    names = [event.name for event in profile.events()]
    assert names.count(calls.name()) == study.LAYERS


def test_the_text_is_split(study):
    words = "".join(chr(97 + i % 26) for i in range(4000)) + "é" * 200
    text = study.Text(words, study.tokenizer())
    assert text.held_out == words[3780:]
    batch = text.batch(np.random.default_rng(1))
    assert batch.shape == (study.BATCH, 33)
    # Bytes, not letters.
    assert len(text._rest) == 220 + 400
    windows = text.windows()
    assert windows.shape == (8, 33)
    assert torch.equal(windows[-1], text._rest[-33:])
    assert torch.equal(windows[0], text._rest[:33])


def test_rows(study):
    def run(heads, seed, loss):
        return {"heads": heads, "seed": seed, "curve": [[1, 9.0], [2, loss]]}

    runs = [run(1, 1, 2.3), run(1, 2, 2.5), run(8, 1, 2.0), run(8, 2, 2.1)]
    one, eight = study.rows_of(runs)
    assert (one["heads"], one["losses"], one["loss"]) == (1, [2.3, 2.5], 2.4)
    assert one["change"] == pytest.approx(0.35)
    assert one["change_error"] == pytest.approx(0.05)
    assert (eight["change"], eight["change_error"]) == (0, None)
    assert eight["published_perplexity"] == 4.92
    assert study.rate(0, 600) < study.rate(29, 600) == 1 > study.rate(599, 600) > 0.1


def test_the_study(study, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text(prose(400))
    argv = ["--text", str(text), "--steps", "8", "--seeds", "2", "--heads", "2,4"]
    argv += ["--out", str(tmp_path / "r.jsonl"), "--json", str(tmp_path / "r.json")]
    saved = tmp_path / "saved"
    saved.mkdir()
    assert study.run([*argv, "--save", str(saved)]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert [row["heads"] for row in result["rows"]] == [2, 4]
    assert all(len(row["losses"]) == 2 for row in result["rows"])
    for run in result["runs"]:
        first, last = run["curve"][0], run["curve"][-1]
        assert last[0] == 8 and last[1] < first[1] < 6
    assert result["worst_gradient_error"] < 1e-5
    # What is saved is what was trained.
    model = network.load(str(saved))
    assert model.model.config.num_attention_heads == 4 and model.prefix == []
    rest = study.Text(text.read_text(), study.tokenizer())
    assert (saved / "held_out.txt").read_text() == rest.held_out
    loss = study.held_out_loss(model.model, rest)
    (run,) = [r for r in result["runs"] if (r["heads"], r["seed"]) == (4, 1)]
    assert loss == pytest.approx(run["curve"][-1][1], abs=1e-5)
    # Again: every run is there.
    capsys.readouterr()
    study.train = None
    assert study.run(argv) == 0
    assert capsys.readouterr().err == ""
    # What a killed run left of its last line is made again; another's file is not.
    out, train = tmp_path / "r.jsonl", []
    whole = out.read_bytes()
    out.write_bytes(whole[:-30])
    study.train = lambda *asked: train.append(asked[:2]) or (None, [[8, 1.0]])
    assert study.run(argv) == 0
    assert train == [(4, 2)] and len(out.read_bytes().splitlines()) == 4
    for foreign in (b'{"heads": 4}\n', b'{"run":{}}\n', b"text\n"):
        out.write_bytes(foreign)
        with pytest.raises(InputError, match="no (file of results|result)"):
            study.run(argv)
        assert out.read_bytes() == foreign


@pytest.mark.parametrize(
    "wrong", [["--seeds", "0"], ["--steps", "0"], ["--heads", "a"], ["--heads", "0"]]
)
def test_bad_arguments(study, wrong, capsys):
    with pytest.raises(SystemExit):
        study.parse(wrong)
    assert wrong[0] in capsys.readouterr().err
