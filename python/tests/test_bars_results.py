# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What `heed bars` takes of other commands, what it keeps, and its command line."""

import json
import math

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from heed.models import bars, results, runs  # noqa: E402
from heed.models.errors import InputError  # noqa: E402
from heed.models.published import context, pruning, retrieval, sinks  # noqa: E402
from heed.models.published.bar import DIRECTION, LABELS, NOT_SEEN, REDONE  # noqa: E402


def test_times_are_those_of_one_cpu(tmp_path, monkeypatch):
    """A result counts again on another CPU, unless it holds times."""
    text = tmp_path / "t.txt"
    text.write_text("Prose.")
    monkeypatch.setattr(context, "model_sha256", lambda name: "m")
    chosen = bars.parse(["--text", str(text)])
    run = bars.Bars(chosen, results.Store(tmp_path / "b.jsonl"), None)

    def keys(cpu):
        monkeypatch.setattr(runs, "cpu_name", lambda: cpu)
        return {bar.name: run.key(bar) for bar in run.bars}

    first, other = keys("a"), keys("b")
    assert keys("a") == first
    changed = {name for name in first if first[name] != other[name]}
    assert changed == {"linear_lengths", "sparse_length"}


def write(folder, name, content):
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text)


MINE = {"model_sha256": "mine", "text": "T", "text_sha256": "prose"}


def test_the_text_of_an_evaluation_is_its_first(tmp_path):
    folder = context.Folders([str(tmp_path)], "mine", "prose")
    texts = {"a": {"label": "A", "sha256": "verse"}}
    texts["b"] = {"label": "B", "sha256": "prose"}
    read = lambda found: {"n": 1}
    for names, refused in (("ba", False), ("ab", True)):
        run = {"model_sha256": "mine", "texts": {name: texts[name] for name in names}}
        write(tmp_path, "eval.json", {"run": run})
        if refused:
            with pytest.raises(InputError, match="of another text, A"):
                folder.take("eval.json", read)
        else:
            assert folder.take("eval.json", read)["n"] == 1


def test_results_of_other_commands(tmp_path):
    folder = context.Folders([str(tmp_path)], "mine", "prose")
    read = lambda found: {"n": found["n"]}
    assert (
        folder.take("heads.json", read) is None and folder.sha256("heads.json") is None
    )
    write(tmp_path, "heads.json", {**MINE, "n": 3})
    assert folder.take("heads.json", read) == {"n": 3, "taken_from": "heads.json"}
    assert folder.take("heads.json", lambda _: None) is None
    for content, words in (
        ({"model_sha256": "other", "model": "that", "n": 3}, "of another model, that"),
        ({**MINE, "text_sha256": "verse", "n": 3}, "of another text, T"),
        (MINE, "older one: KeyError"),
        ({"model_sha256": "mine", "n": 3}, "older one: KeyError"),
        ([], "no such result"),
        ("{", "cannot be read"),
    ):
        write(tmp_path, "heads.json", content)
        with pytest.raises(InputError, match=words):
            folder.take("heads.json", read)
    (tmp_path / "first").mkdir()
    both = context.Folders([str(tmp_path / "first"), str(tmp_path)], "mine", "prose")
    assert both.sha256("heads.json") == folder.sha256("heads.json")
    write(tmp_path / "first", "heads.json", {**MINE, "n": 1})
    assert both.take("heads.json", read)["n"] == 1
    with pytest.raises(InputError, match="is no folder"):
        context.Folders([str(tmp_path / "none")], "mine", "prose")


def test_what_is_taken():
    text = lambda ratio: {"moby": {"ln_ratio": ratio, "ln_ratio_error": 0.03}}
    row = lambda window, sink, ratio: {
        "spec": f"window_sink:window={window}:sink={sink}",
        "refused": None,
        "lm": text(ratio),
    }
    rows = [row(512, 0, 0.5), row(512, 4, 0.1), row(1024, 4, 0.0)]
    run = {"texts": {"moby": {}}, "tokens": 1024}
    found = sinks._from_eval({"run": run, "rows": rows})["settings"]
    assert [(s["window"], s["sink"]) for s in found] == [(512, 0), (512, 4)]
    assert found[0]["over_four"] == pytest.approx(0.4)
    assert found[0]["over_four_error"] == pytest.approx(0.03 * math.sqrt(2))
    assert sinks._from_eval({"run": {**run, "tokens": 512}, "rows": rows}) is None

    curve = lambda loss: [
        {
            "share": share,
            "loss": 0.0,
            "other_loss": loss * share,
            "other_loss_error": 0.1,
        }
        for share in (0.1, 0.2, 0.4)
    ]
    kept = {"curves": {"taylor": curve(1)}, "random": [curve(2), curve(4)]}
    points = pruning._from_heads({"heads": [0] * 8, "pruning": kept})["points"]
    assert [p["loss"] for p in points] == [0.2, 0.4]
    assert points[0]["draws"] == [0.4, 0.8] and points[0]["random"] == pytest.approx(
        0.6
    )
    assert pruning._from_heads({"heads": []}) is None
    # Of one text: its order was made on the tokens whose loss it is.
    for point in kept["curves"]["taylor"]:
        del point["other_loss"]
    assert pruning._from_heads({"heads": [0] * 8, "pruning": kept}) is None

    off = {"heads_off": 3, "needles_margin": -2.0, "needles_margin_error": 0.1}
    others = {**off, "needles_margin": -0.5}
    rows = [{"name": "MLP off"}, {"name": "3 retrieval heads off", **off}]
    rows += [{"name": "3 random heads off, 8 draws", **others}]
    base = {"needles_right": 3, "needles": 4, "needles_margin": 1.0}
    draws = [{"needles_margin": -0.4}, {"needles_margin": -0.6}]
    found = retrieval._from_facts({"rows": rows, "baseline": base, "draws": draws})
    assert (found["change"], found["random"], found["accuracy"]) == (-2, -0.5, 0.75)
    assert found["draws"] == [-0.4, -0.6] and found["masked"] == 3
    unable = {"rows": rows, "baseline": {**base, "needles_margin": -0.1}, "draws": draws}
    assert retrieval._from_facts(unable) is None


def test_every_bar_says_what_it_must():
    assert len(bars.BARS) == 12
    for bar in bars.BARS.values():
        assert "arXiv" in bar.source or "nano-sparse" in bar.source
        assert bar.rule.startswith(("redone: ", "direction only: ")) and bar.differences
    assert all(name in bars.list_text() for name in bars.BARS)
    assert set(LABELS) == {REDONE, DIRECTION, NOT_SEEN, bars.NOT_COMPARABLE}


def test_a_stored_result():
    bar = bars.BARS["retrieval_share"]
    ours = {"heads": 8, "share": 0.05, "share_error": 0.01, "never": 0.5}
    entry = {"status": "OK", "reason": None, "accuracy": ours, "cost": {"seconds": 1.0}}
    found = bars.judged(bar, entry)
    assert found["label"] == REDONE and found["ours"] == 0.05
    assert found["published"] == "0.021 to 0.062" and found["error"] == 0.01
    assert "0.050±0.010 (published: 0.021 to 0.062)" in bars.text_table([found])
    with pytest.raises(InputError, match="lacks 'share'"):
        bars.judged(bar, {**entry, "accuracy": {"heads": 8}})
    refused = {**entry, "status": "UNSUPPORTED", "reason": "has no heads"}
    found = bars.judged(bar, {**refused, "accuracy": None})
    assert found["label"] == "not comparable" and "has no heads" in bars.text_table(
        [found]
    )


def test_the_command_line(capsys):
    assert bars.main(["--list"]) == 0
    assert "not like for like" in capsys.readouterr().out
    for argv, words in (
        (["--only", "none"], "--only none: is none of sinks"),
        (["--only", "sinks", "sinks"], "is given twice"),
        (["--tokens", "9"], "--tokens"),
        (["--folder", "/nowhere", "--text", __file__], "is no folder"),
        (["--json", "/", "--text", __file__], "--json /: is no file"),
    ):
        assert bars.main([*argv, "-q"]) == 1
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1
