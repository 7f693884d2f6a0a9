# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Maps of linear attention, fitted. Skipped where torch is not installed."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from heed.models import data, fitted, network, weights  # noqa: E402
from heed.models.errors import InputError  # noqa: E402
from test_eval import folder, run  # noqa: E402,F401

ARGUMENTS = {
    "softmax_scale": 0.5,
    "softcap": 0.0,
    "causal": True,
    "window_size": (-1, -1),
    "causal_offset": 0,
    "layout": "bhsd",
}


def windows(seed=1, heads=4, kv_heads=2, n=48, d=8):
    """Two pieces whose weights have something to be learned: keys are alike."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)
    turn = draw(d, d)
    pieces = []
    for _ in range(2):
        k = 2 * draw(1, kv_heads, n, d)
        q = k.repeat_interleave(heads // kv_heads, 1) @ turn
        pieces.append((q, k, ARGUMENTS))
    return pieces


def lost(maps, pieces):
    """Mean KL of weights from softmax's, over all rows."""
    values = []
    for q, k, arguments in pieces:
        rows = torch.arange(q.shape[2])
        target = weights.weights_of(q, k, arguments)
        values.append(fitted.divergence(target, maps.weights(q, k, rows)))
    return sum(values) / len(values)


def made(kind, pieces):
    return fitted.KINDS[kind](pieces, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", fitted.KINDS)
def test_the_variant_computes_these_weights(kind):
    """out is weights times values, by heed's variant over the inputs."""
    import heed

    pieces = windows()
    maps = made(kind, pieces)
    q, k, _ = pieces[0]
    v = torch.randn(1, 2, q.shape[2], 5, generator=torch.Generator().manual_seed(2))
    rows = torch.arange(q.shape[2])
    given = maps.weights(q, k, rows)
    assert torch.equal(given, given.tril())
    torch.testing.assert_close(given.sum(-1), torch.ones(4, len(rows)))
    want = given @ v[0].repeat_interleave(2, 0)
    new_q, new_k, inputs = maps.inputs(q, k)
    got = heed.run_variant(
        maps.spec, new_q, new_k, v, causal=True, layout="bhsd", inputs=inputs
    )
    torch.testing.assert_close(got.out[0], want, atol=1e-5, rtol=1e-4)


def test_the_descent_descends():
    pieces = windows()
    maps = made("hedgehog_fitted", pieces)
    before = made("hedgehog_fitted", pieces)
    before.query = before.key = torch.eye(8).repeat(2, 1, 1)
    assert lost(maps, pieces) < 0.7 * lost(before, pieces)
    again = made("hedgehog_fitted", pieces)
    assert torch.equal(maps.query, again.query) and torch.equal(maps.key, again.key)


def test_the_ridge_is_the_least_square():
    """Its matrix is where the gradient of the squares and both ridges vanishes."""
    pieces = windows()
    maps = made("ridge_fitted", pieces)
    assert maps.factor in fitted.FACTORS
    left = right = middle = 0
    for q, k, arguments in pieces:
        r = fitted.features(maps.factor * q[0]).double()
        p = fitted.features(maps.factor * k[0]).double().repeat_interleave(2, 0)
        rows = torch.arange(q.shape[2])
        target = fitted.all_pairs(q, k, arguments, rows).double()
        left, right = left + r.mT @ r, right + p.mT @ p
        middle = middle + r.mT @ target @ p
    more = [
        fitted.RIDGE * torch.diagonal(x, dim1=1, dim2=2).mean(1)[:, None, None]
        for x in (left, right)
    ]
    eye = torch.eye(16, dtype=torch.float64)
    got = (left + more[0] * eye) @ maps.matrix.double() @ (right + more[1] * eye)
    torch.testing.assert_close(got, middle, rtol=1e-3, atol=1e-3)
    # It fits better than the mean of all keys does.
    n = pieces[0][0].shape[2]
    mean = torch.ones(4, n, n).tril()
    mean /= mean.sum(-1, keepdim=True)
    of_mean = np.mean(
        [fitted.divergence(weights.weights_of(*piece), mean) for piece in pieces]
    )
    assert lost(maps, pieces) < of_mean


def test_pairs_ahead():
    q, k, _ = windows(n=12)[0]
    rows = torch.tensor([3, 11])
    windowed = {**ARGUMENTS, "window_size": (4, -1)}
    for arguments, first in ((ARGUMENTS, 0), (windowed, 7)):
        found = fitted.all_pairs(q, k, arguments, rows)
        want = weights.weights_of(q, k, arguments, rows)
        torch.testing.assert_close(found.tril(3)[:, :1], want[:, :1])
        torch.testing.assert_close(found[:, 1], want[:, 1])
        assert (found[:, 1, :first] == 0).all() and (want[:, 1, first:] > 0).all()
    # Beside a key behind, one ahead weighs what their scores say.
    scores = 0.5 * q[0] @ k[0].repeat_interleave(2, 0).mT
    ratio = (scores[:, 3, 6] - scores[:, 3, 2]).exp()
    pairs = fitted.all_pairs(q, k, ARGUMENTS, rows)[:, 0]
    want = (pairs[:, 2] * ratio).clamp(max=1)
    torch.testing.assert_close(pairs[:, 6], want, rtol=1e-4, atol=1e-6)


def test_divergence():
    target = torch.tensor([[[0.5, 0.5], [1.0, 0.0]]])
    got = torch.tensor([[[0.25, 0.75], [0.5, 0.5]]])
    want = (0.5 * math.log(2) + 0.5 * math.log(2 / 3) + math.log(2)) / 2
    assert fitted.divergence(target, got) == pytest.approx(want, rel=1e-5)
    assert fitted.divergence(target, target) == pytest.approx(0, abs=1e-6)


def test_pieces_stay_apart(folder):  # noqa: F811
    model, path = network.load(str(folder)), str(folder / "text.txt")
    ids = model.encode((folder / "text.txt").read_text())
    fits = fitted.Fits(model, path, 100, {}, 1)
    assert fits.windows == [ids[-200:-100], ids[-100:]]
    model.prefix = [1]
    begun = fitted.Fits(model, path, 100, {}, 1).windows
    assert [piece[0] for piece in begun] == [1, 1] and len(begun[0]) == 100
    assert begun[1][1:] == ids[-99:]
    model.prefix = []
    whole = len(ids) // 2
    fitted.Fits(model, path, whole, {}, 1)
    scored = {"x": data.read_text(path)[2]}
    with pytest.raises(InputError, match="scored apart"):
        fitted.Fits(model, path, whole, scored, 1)


def test_a_run(folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(fitted, "STEPS", 5)
    more = ["--tasks", "lm", "--fit-text", str(folder / "text.txt")]
    more += ["--variants", *fitted.KINDS]
    code, found = run(folder, tmp_path / "r.jsonl", *more)
    assert code == 0
    for spec in fitted.KINDS:
        assert found[spec, "lm"]["status"] == "OK"
        assert found[spec, "lm"]["accuracy"]["kld"] > 0
        numbers = found[spec, "kernel"]["accuracy"]
        assert numbers["mass"] is None and 0 < numbers["rel_l2"] < 2
        about = found[spec, "lm"]["fit"]
        assert about["tokens"] == 256 and about["divergence"] > 0
        assert not found[spec, "lm"]["selects_ahead"]
    assert "fitted on 256 tokens of text.txt" in capsys.readouterr().out
    # Another seed fits other maps, and is another result.
    _, again = run(folder, tmp_path / "r.jsonl", *more, "--seed", "2")
    keys = [of["hedgehog_fitted", "lm"]["key"] for of in (found, again)]
    assert keys[0] != keys[1]
    text = ["--fit-text", str(tmp_path / "none")]
    assert run(folder, tmp_path / "r.jsonl", *more[:2], *text, *more[4:])[0] == 1
    assert "none" in capsys.readouterr().err
    assert run(folder, tmp_path / "r.jsonl", *more[:4], "--variants", "kv_int8")[0] == 1
    assert "none of the variants is fitted" in capsys.readouterr().err


def test_an_attention_that_is_not_said(tmp_path):
    from test_eval import SIZES, save

    sizes = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}
    config = transformers.GptOssConfig(
        **sizes, num_local_experts=2, num_experts_per_tok=1
    )
    where = save(tmp_path, config)
    more = ["--tasks", "lm", "--fit-text", str(where / "text.txt")]
    more += ["--variants", "ridge_fitted", "kv_int8"]
    code, found = run(where, tmp_path / "r.jsonl", *more)
    assert code == 0 and found["kv_int8", "lm"]["status"] == "OK"
    entry = found["ridge_fitted", "lm"]
    assert entry["status"] == "UNSUPPORTED" and "learned sinks" in entry["reason"]
