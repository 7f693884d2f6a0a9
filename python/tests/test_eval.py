# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed eval` of a tiny random model. Skipped where torch is not installed."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from heed.models import capitals, evaluate, kernel, network  # noqa: E402
from heed.models import places, runs, tasks  # noqa: E402
from heed.models.errors import InputError  # noqa: E402
from test_tasks import prose  # noqa: E402

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
}


def save(folder, config):
    text = prose(1200)
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\s?\w+|\W"), "isolated")
    pieces = [piece for piece, _ in split.pre_tokenize_str(text)]
    named = [word for pair in capitals.CAPITALS.items() for word in pair]
    pieces += [f" {word}" for word in tasks.WORDS + tasks.PLACES + named]
    words = {word: i for i, word in enumerate(dict.fromkeys(["?", *pieces]))}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(vocab=words, unk_token="?")
    )
    tokenizer.pre_tokenizer = split
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="?"
    )
    wrapped.save_pretrained(folder)
    torch.manual_seed(3)
    config.vocab_size = len(words)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    (folder / "text.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=2, head_dim=8)
    return save(tmp_path_factory.mktemp("tiny"), config)


def run(folder, out, *more):
    argv = [str(folder), "--text", str(folder / "text.txt"), "--tokens", "128"]
    argv += ["--length", "256", "--documents", "1", "--out", str(out), "-q", *more]
    code = evaluate.main(argv)
    entries = [json.loads(line) for line in out.read_text().splitlines()]
    return code, {(e["spec"], e["task"]): e for e in entries if "key" in e}


VARIANTS = ["--variants", "window_sink:window=16,4096", "linear_elu"]


def test_yardsticks(folder, tmp_path):
    more = ["--tasks", "lm", "--variants", "kv_int4", "kv_int8"]
    _, found = run(folder, tmp_path / "r.jsonl", *more)
    coarse, fine = (found[f"kv_int{bits}", "lm"]["accuracy"]["kld"] for bits in (4, 8))
    assert coarse > 20 * fine > 0
    layers = found["kv_int4", "kernel"]["accuracy"]
    assert 0.01 < layers["rel_l2"] < 0.3 and layers["mass"] is None
    x = torch.tensor([[7.0, -3.4, 0.6, 0.4]])
    assert network.rounded(x, 4).tolist() == [[7, -3, 1, 0]]


def test_a_run(folder, tmp_path, capsys):
    out, page = tmp_path / "r.jsonl", tmp_path / "r.html"
    more = ["--tasks", "lm,needle,induction", "--html", str(page), *VARIANTS]
    code, found = run(folder, out, *more)
    assert code == 0 and page.stat().st_size > 100000
    near, all_, linear = places.expand_all(VARIANTS[1:])
    assert len(found) == 3 + 3 * 4
    assert all(e["status"] == "OK" for e in found.values())
    # A window over everything is exact; a narrow one is not.
    whole = found[all_, "lm"]["accuracy"]
    assert whole["kld"] < 1e-6 and whole["same_top"] > 0.99
    assert abs(whole["ln_ratio"]) < 1e-4
    assert found[near, "lm"]["accuracy"]["kld"] > 100 * whole["kld"]
    numbers = found[all_, "kernel"]["accuracy"]
    assert numbers["density"] == 1 and numbers["mass"] == pytest.approx(1, abs=1e-6)
    assert numbers["rel_l2"] < 1e-5 and len(numbers["layers"]) == 2
    numbers = found[near, "kernel"]["accuracy"]
    assert 0.1 < numbers["density"] < 0.4 and 0 < numbers["mass"] < 1
    assert found[linear, "kernel"]["accuracy"]["mass"] is None
    exact = found["exact", "lm"]["accuracy"]
    assert found[near, "lm"]["accuracy"]["exact_ppl"] == pytest.approx(exact["ppl"])
    # A random model does nothing, so there is no verdict.
    shown = capsys.readouterr().out
    assert "induction: this model cannot do it" in shown and "none" in shown

    # Two runs give the same numbers; nothing is measured twice.
    code, again = run(folder, tmp_path / "s.jsonl", *more)
    for case, entry in found.items():
        assert again[case]["accuracy"] == entry["accuracy"], case
    before = out.read_text()
    assert run(folder, out, *more)[1] == found
    assert len(out.read_text().splitlines()) == len(before.splitlines()) + 1


def test_a_killed_run_goes_on(folder, tmp_path):
    out = tmp_path / "r.jsonl"
    _, whole = run(folder, out, "--tasks", "lm", *VARIANTS)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:4]) + lines[4][:40])
    code, found = run(folder, out, "--tasks", "lm", *VARIANTS)
    assert code == 0 and found.keys() == whole.keys()
    for case, entry in whole.items():
        assert found[case]["accuracy"] == entry["accuracy"], case


def test_times_are_those_of_one_cpu(folder, tmp_path, monkeypatch):
    """On another CPU, or with other threads, what holds times is measured again."""
    out = tmp_path / "r.jsonl"
    more = ["--tasks", "lm,needle", "--variants", "window_sink:window=16"]

    def measured(cpu, threads):
        monkeypatch.setattr(runs, "cpu_name", lambda: cpu)
        before = len(out.read_text().splitlines()) if out.exists() else 0
        run(folder, out, *more, "--threads", threads)
        entries = [json.loads(line) for line in out.read_text().splitlines()[before:]]
        return sorted(e["task"] for e in entries if "key" in e)

    assert measured("a", "1") == ["kernel", "lm", "lm", "needle", "needle"]
    assert measured("a", "1") == []
    assert measured("b", "1") == ["kernel", "lm", "lm"]
    assert measured("b", "2") == ["kernel", "lm", "lm"]
    assert measured("a", "1") == []


def test_places(folder, tmp_path):
    heads = tmp_path / "heads"
    heads.write_text("0 1\n")
    klds = []
    for more in ([], ["--dense-layers", "0"], ["--where", f"heads {heads}"]):
        more += ["--tasks", "lm", "--variants", "window_sink:window=4:sink=0"]
        _, found = run(folder, tmp_path / "r.jsonl", "--fresh", *more)
        accuracies = [e["accuracy"] for (_, task), e in found.items() if task == "lm"]
        klds += [accuracy["kld"] for accuracy in accuracies if "kld" in accuracy]
    assert klds[0] > klds[1] > 0 and klds[0] > klds[2] > 0


def test_layers_against_plain_numbers(folder):
    model = network.load(str(folder))
    ids = list(range(3, 60))
    (spec,) = places.expand("window_sink:window=8:sink=1")
    got, _ = kernel.measure(model, ids, [spec])
    kept = {}

    def observe(layer, q, k, v, arguments, out):
        k, v = (x.repeat_interleave(2, 1).double() for x in (k, v))
        scores = q.double() @ k.transpose(2, 3) * arguments["softmax_scale"]
        at = torch.arange(len(ids))
        causal = at[None] <= at[:, None]
        keep = causal & ((at[:, None] - at[None] < 8) | (at[None] < 1))
        exact = scores.masked_fill(~causal, -torch.inf).softmax(-1)
        sparse = scores.masked_fill(~keep, -torch.inf).softmax(-1)
        mass = (exact * keep).sum(-1).mean()
        error = ((sparse - exact) @ v).norm() / (exact @ v).norm()
        kept[layer] = (float(keep.sum() / causal.sum()), float(mass), float(error))

    model.switch.reset()
    model.switch.observer = observe
    model.hidden(ids)
    model.switch.reset()
    for layer, numbers in enumerate(got[spec]):
        want = kept[layer]
        found = (numbers["density"], numbers["mass"], numbers["rel_l2"])
        np.testing.assert_allclose(found, want, rtol=1e-4)


def test_each_layer_alone(folder, tmp_path):
    """What --by-layer says is what a run with that --where says."""
    narrow = ["--variants", "window_sink:window=16", "--tasks", "lm,needle"]
    (spec,) = places.expand(narrow[1])
    _, found = run(folder, tmp_path / "r.jsonl", *narrow, "--by-layer")
    alone = found[spec, "layers"]["accuracy"]["layers"]
    assert [row["layer"] for row in alone] == [0, 1]
    grids = [found["exact", "needle"]["accuracy"]["grid"]]
    for row in alone:
        where = ["--where", f"layers {row['layer']}", "--fresh"]
        _, one = run(folder, tmp_path / f"{row['layer']}.jsonl", *narrow, *where)
        assert one[spec, "lm"]["accuracy"]["kld"] == pytest.approx(row["kld"], rel=1e-4)
        before, after = (
            np.array([item[3] for item in grid])
            for grid in (*grids, one[spec, "needle"]["accuracy"]["grid"])
        )
        change = np.mean(after - before)
        assert row["margin_change"] == pytest.approx(change, abs=2e-4)
    assert alone[0]["kld"] != pytest.approx(alone[1]["kld"], rel=0.01)


def test_documents_of_several_lengths(folder, tmp_path):
    out, table = tmp_path / "r.jsonl", tmp_path / "r.json"
    more = ["--tasks", "needle", "--variants", "window_sink:window=16"]
    _, one = run(folder, out, *more)
    more += ["--length", "512,256", "--json", str(table)]
    _, two = run(folder, tmp_path / "s.jsonl", *more)
    accuracy = two["exact", "needle"]["accuracy"]
    assert accuracy["documents"] == 2
    short, long = accuracy["lengths"]
    assert 200 < short <= 256 < 450 < long <= 512
    # The shorter one is what it is alone.
    alone = one["exact", "needle"]["accuracy"]["grid"]
    assert accuracy["grid"][: len(alone)] == alone
    row = json.loads(table.read_text())["rows"][0]
    assert {cell[0] for cell in row["tasks"]["needle"]["by_depth"]} == {
        64 * round(n / 64) for n in (short, long)
    }


def test_attention_beneath_that_is_not_the_models(tmp_path):
    sizes = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}
    config = transformers.GptOssConfig(
        **sizes, num_local_experts=2, num_experts_per_tok=1
    )
    more = ["--tasks", "lm", "--variants", "window_sink:window=16", "kv_int8"]
    code, found = run(save(tmp_path, config), tmp_path / "r.jsonl", *more)
    assert code == 0
    (window,) = places.expand("window_sink:window=16")
    for spec in (window, "kv_int8"):
        entry = found[spec, "kernel"]
        assert entry["status"] == "UNSUPPORTED" and entry["accuracy"] is None
        assert "layer 0: has learned sinks" in entry["reason"]
    assert found["kv_int8", "lm"]["status"] == "OK"


def test_what_is_refused(folder, tmp_path, capsys):
    def refused(words, *argv):
        out = ["--out", str(tmp_path / "r.jsonl"), "-q"]
        assert evaluate.main([*argv, *out]) == 1
        error = capsys.readouterr().err
        assert words in error and len(error.splitlines()) == 1, error

    text = ["--text", str(folder / "text.txt")]
    tiny = str(folder)
    refused("is no causal model here", str(tmp_path), *text)
    (tmp_path / "short.txt").write_text("Banoa. Banoe. " * 9)
    short = ["--text", str(tmp_path / "short.txt"), "--tokens", "200"]
    refused("fewer than 200", tiny, *short, "--tasks", "lm")
    assert not (tmp_path / "r.jsonl").exists()
    refused("1024 positions", tiny, *text, "--tokens", "1500", "--tasks", "lm")
    refused("windows", tiny, *text, "--variants", "windows")
    refused("has layers 0 to 1", tiny, *text, "--tokens", "64", "--where", "layers 7")
    refused("its folder", tiny, *text, "--html", str(tmp_path / "none" / "x.html"))
    (tmp_path / "r.jsonl").write_text("nonsense\n")
    refused("is no file of results", tiny, *text, "--tokens", "64")
    assert (tmp_path / "r.jsonl").read_text() == "nonsense\n"


def test_a_resumed_run_measures_attention_on_its_own_tokens(folder, tmp_path):
    def layers(out, task):
        more = ["--tasks", task, "--variants", "window_sink:window=16"]
        found = run(folder, out, *more)[1]
        return [e["accuracy"]["layers"] for (_, t), e in found.items() if t == "kernel"]

    layers(tmp_path / "r.jsonl", "needle")
    resumed = layers(tmp_path / "r.jsonl", "induction")
    assert resumed == layers(tmp_path / "s.jsonl", "induction")


def test_what_looks_ahead_is_said(folder, tmp_path, capsys):
    more = ["--tasks", "lm", "--variants", "block_topk:block=16:total_blocks=4"]
    _, found = run(folder, tmp_path / "r.jsonl", *more)
    marks = {spec: e["selects_ahead"] for (spec, _), e in found.items()}
    assert marks.pop("exact") is False and list(marks.values()) == [True]
    assert "chooses by later tokens too" in capsys.readouterr().out


def test_weights_that_are_not_finite(folder, tmp_path):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(torch.nan)
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="not finite"):
        network.load(str(tmp_path))


def test_models_that_are_refused(tmp_path):
    both = save(tmp_path, transformers.BertConfig(**SIZES))
    with pytest.raises(InputError, match="not causal|cannot be run|does not"):
        network.load(str(both))


def test_a_model_that_is_too_large(folder, monkeypatch):
    monkeypatch.setattr(network, "_available_memory", lambda: 1000)
    with pytest.raises(InputError, match="GiB are free"):
        network.load(str(folder))
