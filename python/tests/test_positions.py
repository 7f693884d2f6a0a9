# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed positions` of tiny random models. Skipped where torch is not installed."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

import heed  # noqa: E402
from heed.models import ablation, moved, network, order, positions  # noqa: E402
from heed.models import rotary, stretch  # noqa: E402
from heed.models.errors import InputError  # noqa: E402
from heed.models.rotary import Rotary, Turn  # noqa: E402
from test_eval import SIZES, folder, save  # noqa: E402,F401

IDS = [(11 * i) % 90 + 3 for i in range(70)]
WIDE = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}


@pytest.fixture(scope="module")
def model(folder):  # noqa: F811
    return network.load(str(folder))


def hidden(model, turn):
    with Rotary(model).by(turn):
        return model.hidden(IDS)


# ---- Tables -------------------------------------------------------------------


@pytest.mark.parametrize(
    "theirs, ours",
    [
        ({"rope_type": "linear", "factor": 3.0}, {"kind": "linear", "factor": 3}),
        # Static NTK by 4 is dynamic NTK at four times the trained length.
        ({"rope_type": "dynamic", "factor": 1.0}, {"kind": "ntk", "factor": 4}),
        (
            {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 1024,
            },
            {"kind": "yarn", "factor": 4, "original_positions": 1024},
        ),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "original_max_position_embeddings": 1024,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
            },
            {"kind": "llama3", "factor": 8, "original_positions": 1024},
        ),
    ],
)
def test_scaled_tables_are_those_of_transformers(theirs, ours):
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    wide = {**WIDE, "head_dim": 64}
    config = transformers.LlamaConfig(
        **wide, rope_parameters={"rope_theta": 50000.0, **theirs}
    )
    places = torch.arange(4096)[None]
    want = LlamaRotaryEmbedding(config)(torch.zeros(1), places)
    got = heed.rope_tables(64, 4096, theta=50000.0, scaling=ours)
    for table, own in zip(got, want):
        # Theirs are products in float32, of angles up to 4096.
        np.testing.assert_allclose(np.tile(table, 2), own[0].numpy(), atol=6e-4)
        near = np.tile(table, 2)[:16]
        np.testing.assert_allclose(near, own[0, :16].numpy(), atol=3e-6)


@pytest.mark.parametrize("kind", ["Llama", "Cohere", "GPTNeoX"])
def test_replaced_tables_are_the_models_own(tmp_path, kind):
    more = {"logit_scale": 1.0} if kind == "Cohere" else {}
    config = getattr(transformers, f"{kind}Config")(**SIZES, **more)
    model = network.load(str(save(tmp_path, config)))
    found = Rotary(model)
    assert found.interleaved == (kind == "Cohere")
    assert found.theta == (500000 if kind == "Cohere" else 10000)
    torch.testing.assert_close(hidden(model, Turn()), model.hidden(IDS))
    # What is turned by hand is turned as the model does it.
    seen = {}
    model.switch.observer = lambda layer, q, k, v, arguments, out: (
        seen.setdefault(layer, []).append((q, k))
    )
    for turn in (Turn(), order.WITHOUT):
        with found.by(turn):
            model.hidden(IDS)
    model.switch.reset()
    tables = found.tables(Turn(), len(IDS))
    for with_rope, without in zip(*seen[0]):
        by_hand = rotary.turned(without, *tables, found.interleaved)
        torch.testing.assert_close(by_hand, with_rope)
        assert not torch.allclose(without, with_rope, atol=1e-2)


@pytest.mark.parametrize(
    "theirs, turn",
    [
        ({"rope_type": "linear", "factor": 2.0}, Turn(speed=0.5)),
        (
            {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 64,
            },
            Turn(scaling=stretch.scalings(4, 64)["yarn"]),
        ),
    ],
)
def test_a_turned_model_is_one_of_that_configuration(
    folder,  # noqa: F811
    model,
    theirs,
    turn,
):
    config = transformers.AutoConfig.from_pretrained(folder)
    config.rope_parameters = {"rope_theta": 10000.0, **theirs}
    stretched = transformers.AutoModelForCausalLM.from_pretrained(
        folder, config=config, attn_implementation="eager"
    )
    with torch.no_grad():
        want = stretched.base_model(torch.tensor([IDS])).last_hidden_state[0]
    torch.testing.assert_close(hidden(model, turn), want, atol=2e-4, rtol=2e-4)
    assert not torch.allclose(model.hidden(IDS), want, atol=1e-2)


def test_models_whose_tables_are_not_understood(tmp_path):
    config = transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=0
    )
    model = network.load(str(save(tmp_path, config)))
    with pytest.raises(InputError, match="has 0 modules of rotary positions"):
        Rotary(model)


# ---- Order --------------------------------------------------------------------


def test_what_tells_the_order(model):
    found = order.of_layers(model, Rotary(model), IDS, np.random.default_rng(1))
    assert found["layers"] == [0, 1] and found["tokens"] == len(IDS)
    permuted = found["permuted"]
    for name in ("queries", "tokens, sums exact"):
        assert permuted[name] == {"rel_l2": 0, "equal": 1}
    for name in ("keys", "tokens", "tokens with their RoPE"):
        assert 0 < permuted[name]["rel_l2"] < 2e-6
    for name in ("tokens, RoPE by place", "tokens, causal mask"):
        assert permuted[name]["rel_l2"] > 0.05


def test_a_causal_mask_tells_the_order_from_the_second_layer_on(model):
    found = order.by_depth(model, Rotary(model), IDS, np.random.default_rng(1))
    first, second = found["without"]
    assert first < 1e-5 and second > 1e-3
    assert found["rope"][0] > 1e-3


# ---- Moved --------------------------------------------------------------------


def test_shifts_change_nothing(model):
    own = model.hidden(IDS)
    for by in (1, 1000, 100000):
        moved_ = hidden(model, Turn(place=lambda n: np.arange(n) + by))
        torch.testing.assert_close(moved_, own, atol=1e-4, rtol=1e-3)
    apart = Turn(place=lambda n: 2 * np.arange(n))
    for turn in (Turn(speed=0.5), Turn(speed=0.0), apart):
        assert not torch.allclose(hidden(model, turn), own, atol=1e-2)
    twice = hidden(model, Turn(speed=2.0))
    torch.testing.assert_close(hidden(model, apart), twice, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(model.hidden(IDS), own)


def test_turns():
    found = moved.turns(moved.PRESETS["full"], 1)
    assert list(found)[0] == moved.BASELINE and "shifted by 100,000" in found
    eights, all_ = (found[n].place(50) for n in ("permuted by eights", "permuted"))
    for places in (eights, all_):
        assert sorted(places) == list(range(50)) and (places != np.arange(50)).any()
    assert (eights // 8 == np.arange(50) // 8).all()
    assert (all_ // 8 != np.arange(50) // 8).any()
    np.testing.assert_array_equal(all_, found["permuted"].place(50))


def test_changes():
    before = {
        "prose": np.array([2.0, 3.0]),
        "needle": (np.array([1.0, -1.0]), np.array([0, 1])),
        "induction": (np.array([1.0, 1.0]), np.array([0, 0])),
    }
    now = {
        "prose": np.array([2.5, 3.7]),
        "needle": (np.array([3.0, 2.0]), np.array([0, 1])),
        "induction": (np.array([-1.0, 2.0]), np.array([0, 0])),
    }
    found = moved.changes(now, before)
    assert found["loss"] == pytest.approx(3.1)
    assert found["loss_change"] == pytest.approx(0.6)
    assert found["loss_change_error"] == pytest.approx(0.1)
    assert (found["needle_right"], found["induction_right"]) == (1.0, 0.5)
    assert found["needle_change"] == pytest.approx(2.5)
    # Two documents that are 0.5 from the mean: sqrt(2 * (2 * 0.25) / 4).
    assert found["needle_change_error"] == pytest.approx(0.5)
    assert found["induction_change_error"] is None


# ---- Length -------------------------------------------------------------------


@pytest.mark.parametrize("trained", [16, 17])
def test_a_cut_text(model, trained):
    """Each token by the definition: at least half the trained length before it."""
    ids = IDS[:40]
    got = stretch.cut_losses(model, ids, trained)
    assert len(got) == len(ids) - 1
    step, known = trained // 2, trained - trained // 2
    for token in (1, 8, 15, 16, 17, 23, 24, 25, 39):
        begin = max(0, -((trained - token - 1) // step) * step)
        assert token - begin < trained and (begin == 0 or token - begin >= known)
        piece = ids[begin : token + 1]
        want = ablation.losses(model, model.hidden(piece), piece)[-1]
        assert got[token - 1] == pytest.approx(want, abs=1e-3), token


def test_summary_of_lengths():
    trained, tokens = 64, 160  # blocks of 2 tokens, halves of 16 blocks
    cut = stretch.blocks_of(np.arange(159.0), trained)
    assert cut[:2] == [0.5, 2.5] and len(cut) == 80 and cut[-1] == 158
    shift = np.where(np.arange(80) % 2, 3.0, 1.0)
    found = {"cut": {"blocks": [cut, cut]}}
    found["none"] = {"blocks": [list(np.array(cut) + shift), cut]}
    rows = stretch.summary(found, tokens, trained)
    buckets = rows[1]["buckets"]
    assert [(b["first"], b["last"]) for b in buckets] == [
        (1, 32),
        (33, 64),
        (65, 96),
        (97, 128),
        (129, 159),
    ]
    assert buckets[0]["loss"] == pytest.approx(15.5 + 1)
    assert buckets[4]["change"] == pytest.approx(1)
    # 32 changes, of 1, 3 and 0: their squares' mean less that of the mean is 3/2.
    assert buckets[0]["change_error"] == pytest.approx(np.sqrt(1.5 / 31))
    assert "change" not in rows[0]["buckets"][0]


def test_stretched_already(tmp_path):
    config = transformers.LlamaConfig(
        **WIDE,
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
    )
    model = network.load(str(save(tmp_path, config)))
    found = Rotary(model)
    assert found.theta is None
    torch.testing.assert_close(hidden(model, Turn()), model.hidden(IDS))
    with pytest.raises(InputError, match="stretched already"):
        found.tables(Turn(scaling={"kind": "linear", "factor": 2}), 4)


# ---- The command --------------------------------------------------------------

SMALL = {
    "pieces": (2, 64),
    "asked": (2, 256),
    "shifts": (1000,),
    "speeds": (2.0,),
    "longest": 512,
}


def test_the_command(folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setitem(moved.PRESETS, "quick", SMALL)
    out, summary = tmp_path / "p.jsonl", tmp_path / "p.json"
    argv = [str(folder), "--text", str(folder / "text.txt"), "-q", "--out", str(out)]
    argv += ["--json", str(summary), "--trained", "128"]
    assert positions.main(argv) == 0
    said = capsys.readouterr().out
    result = json.loads(summary.read_text())
    assert set(result) == {"run", "order", "turns", "length", "not_measured"}
    rows = {row["name"]: row for row in result["turns"]}
    assert len(rows) == 6 and rows[moved.BASELINE]["loss_change"] == 0
    assert abs(rows["shifted by 1,000"]["loss_change"]) < 1e-4
    assert abs(rows["removed"]["loss_change"]) > 1e-3
    assert rows["removed"]["loss_change_error"] > 0
    length = result["length"]
    assert (length["tokens"], length["trained"], length["texts"]) == (512, 128, 1)
    lengths = {row["scaling"]: row["buckets"] for row in result["length"]["rows"]}
    assert list(lengths) == ["cut", "none", "linear", "ntk", "yarn"]
    assert all(len(buckets) == 8 for buckets in lengths.values())
    # Unscaled, the first piece is the cut text's.
    assert abs(lengths["none"][0]["change"]) < 1e-5
    for words in ("tokens, RoPE by place", "removed", "yarn", "trained on 128"):
        assert words in said

    # Again: everything is there.
    lines = out.read_text().splitlines()
    monkeypatch.setattr(moved.Asked, "measure", None)
    assert positions.main(argv) == 0
    assert out.read_text().splitlines()[: len(lines)] == lines
    assert len(out.read_text().splitlines()) == len(lines) + 1
    again = json.loads(summary.read_text())
    assert {k: v for k, v in again.items() if k != "run"} == {
        k: v for k, v in result.items() if k != "run"
    }
    assert positions.main([*argv, "--parts", "length", "--trained", "1000"]) == 0
    assert "length: not measured: 512 tokens" in capsys.readouterr().out


def test_bad_input(folder, tmp_path, capsys):  # noqa: F811
    argv = [str(folder), "--text", str(folder / "text.txt"), "-q"]
    foreign = tmp_path / "notes"
    foreign.write_text("mine\n")
    broken = tmp_path / "broken"
    broken.write_text('{"key":"a","part":"order","name":"x","status":"OK"}\n')
    for more, words in (
        (["--parts", "order,lengths"], "--parts lengths: is none of order"),
        (["--parts", "order,order"], "--parts order: is given twice"),
        (["--trained", "3"], "--trained"),
        (["--text", "code"], "takes one text"),
        (["--json", str(tmp_path / "none" / "x")], "cannot be written"),
        (["--out", str(foreign)], "is no file of results"),
        (["--out", str(broken)], "line 1 is no result (numbers.tokens)"),
        (
            ["--out", str(tmp_path / "p"), "--tokens", "999999", "--trained", "99999"],
            "fewer than 999999",
        ),
    ):
        assert positions.main([*argv, *more]) == 1
        said = capsys.readouterr().err
        assert said.startswith("heed positions: ") and words in said, said
        assert said.count("\n") == 1
