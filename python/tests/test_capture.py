# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed capture against eager attention, on small models with random weights.

Skipped where torch or transformers is not installed.
"""

import hashlib
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import safetensors  # noqa: E402
import safetensors.torch  # noqa: E402
from transformers.models.llama.modeling_llama import (  # noqa: E402
    apply_rotary_pos_emb,
)

import heed  # noqa: E402
import heed.hf  # noqa: E402
from heed import _capture  # noqa: E402
from small_models import SMALL, model_of, save  # noqa: E402

TEXT = "It was the whiteness of the whale that above all things appalled me. " * 3


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small_llama"
    return save(transformers.LlamaConfig(**SMALL), folder)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "whale.txt"
    path.write_text(TEXT)
    return str(path)


def tokens(count):
    torch.manual_seed(13)
    return torch.randint(3, 60, (1, count))


def eager_parts(model, ids, layer):
    """query, key, value and what comes out of attention, by the model's own parts."""
    attention = model.model.layers[layer].self_attn
    seen = {}

    def note(name):
        return lambda module, inputs, output: seen.__setitem__(name, output)

    hooks = [
        getattr(attention, name).register_forward_hook(note(name))
        for name in ("q_proj", "k_proj", "v_proj")
    ]
    hooks.append(
        attention.o_proj.register_forward_pre_hook(
            lambda module, inputs: seen.__setitem__("out", inputs[0])
        )
    )
    hooks.append(model.model.rotary_emb.register_forward_hook(note("turn")))
    model.set_attn_implementation("eager")
    model(ids)
    for hook in hooks:
        hook.remove()
    parts = [
        seen[name].view(1, ids.shape[1], -1, attention.head_dim).transpose(1, 2)
        for name in ("q_proj", "k_proj", "v_proj")
    ]
    query, key = apply_rotary_pos_emb(*parts[:2], *seen["turn"])
    out = seen["out"].view(ids.shape[1], -1, attention.head_dim)
    return [x[0].transpose(0, 1) for x in (query, key, parts[2])] + [out]


@torch.no_grad()
def test_is_what_eager_attention_computes_with():
    model = model_of(transformers.LlamaConfig(**SMALL))
    ids = tokens(37)
    before = model.config._attn_implementation
    captured = heed.hf.capture(model, ids, [2, 0])
    assert model.config._attn_implementation == before
    assert list(captured.layers) == [0, 2]
    for layer, made in captured.layers.items():
        want = eager_parts(model, ids, layer)
        got = [made.query, made.key, made.value, made.out]
        for a, b in zip(got, want):
            torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)
        assert made.softmax_scale == 8**-0.5
        assert made.window_size == (-1, -1) and made.softcap == 0
    torch.testing.assert_close(captured.logits, model(ids).logits, atol=2e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["mistral", "gemma2"])
def test_windows_and_softcap_are_told(kind):
    if kind == "mistral":
        config = transformers.MistralConfig(**SMALL, sliding_window=9)
    else:
        config = transformers.Gemma2Config(
            **SMALL, sliding_window=9, attn_logit_softcapping=2.0
        )
    captured = heed.hf.capture(model_of(config), tokens(40), range(3))
    for layer, made in captured.layers.items():
        windowed = kind == "mistral" or config.layer_types[layer] == "sliding_attention"
        assert made.window_size == (8 if windowed else -1, -1)
        assert made.softcap == (0 if kind == "mistral" else 2.0)
        again = heed.attention(
            made.query,
            made.key,
            made.value,
            softmax_scale=made.softmax_scale,
            softcap=made.softcap,
            window_size=made.window_size,
            causal=True,
            layout="thd",
        )
        assert torch.equal(again, made.out)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_the_file_is_what_compare_reads(llama, text, tmp_path, capsys, dtype):
    out = tmp_path / "x.safetensors"
    out.write_text("old")
    arguments = [llama, "--text", text, "--layers", "0,2", "--tokens", "96"]
    assert _capture.main([*arguments, "--dtype", dtype, "--out", str(out)]) == 0
    assert "perplexity" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path)) == ["whale.txt", "x.safetensors"]
    with safetensors.safe_open(out, "pt") as file:
        said = file.metadata()
    assert said["model"] == "small_llama" and said["text"] == "whale.txt"
    assert said["text_sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert (said["layers"], said["tokens"], said["causal"]) == ("0,2", "96", "true")
    assert float(said["softmax_scale"]) == 8**-0.5
    with torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_pretrained(llama)
        ids = torch.tensor([list(_tokenizer(llama)(TEXT)["input_ids"][:96])])
        loss = model(ids, labels=ids).loss
        made = heed.hf.capture(model, ids, [0, 2]).layers
    assert float(said["perplexity"]) == pytest.approx(float(loss.exp()), rel=1e-3)
    tensors = safetensors.torch.load_file(out)
    rounded = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    assert len(tensors) == 6
    for layer, parts in made.items():
        for part in ("query", "key", "value"):
            want = getattr(parts, part).to(rounded[dtype])
            assert torch.equal(tensors[f"layer.{layer}.{part}"], want)
    table = heed.compare(input=out, variants=["exact"], repeats=1)
    assert all(row["gate"] == "ok" for row in table), table.text


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_the_file_has_the_mode_of_the_umask(llama, text, tmp_path):
    out = tmp_path / "x.safetensors"
    arguments = [llama, "--text", text, "--layers", "0", "--tokens", "9"]
    before = os.umask(0o027)
    try:
        assert _capture.main([*arguments, "--out", str(out)]) == 0
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o640


def test_a_model_that_is_not_a_number(llama, text, tmp_path, capsys):
    folder = tmp_path / "broken"
    model = transformers.AutoModelForCausalLM.from_pretrained(llama)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    model.save_pretrained(folder)
    _tokenizer(llama).save_pretrained(folder)
    out = tmp_path / "x.safetensors"
    arguments = [str(folder), "--text", text, "--layers", "0", "--tokens", "9"]
    assert _capture.main([*arguments, "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert "has a loss of nan" in said.err and said.err.count("\n") == 1
    assert said.out == "" and not list(tmp_path.glob("x*"))


def _tokenizer(folder):
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_the_command(llama, text, tmp_path):
    out = tmp_path / "x.safetensors"
    command = [sys.executable, "-m", "heed", "capture", llama, "--text", text]
    command += ["--layers", "all", "--tokens", "20", "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert len(safetensors.torch.load_file(out)) == 9
    run = subprocess.run(
        [sys.executable, "-m", "heed", "help", "capture"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and "--layers" in run.stdout


def test_layers():
    assert _capture.parse_layers("all", 3) == [0, 1, 2]
    assert _capture.parse_layers("2,0,1-2", 3) == [0, 1, 2]
    for wrong in ("", "a", "-1", "1-", "2-1", "1,,2", "0 1", "٣"):
        with pytest.raises(_capture._Refused, match="needs numbers"):
            _capture.parse_layers(wrong, 9)
    with pytest.raises(_capture._Refused, match="layers 0 to 2"):
        _capture.parse_layers("1-3", 3)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"--layers": "0,3"}, "the model has layers 0 to 2"),
        ({"--layers": "x"}, "needs numbers"),
        ({"--tokens": "1"}, "needs 2 to 256, not 1"),
        ({"--tokens": "257"}, "needs 2 to 256, not 257"),
        ({"--tokens": "250"}, "has 207 tokens, fewer than the 250"),
        ({"--text": "missing.txt"}, "No such file"),
        ({"--text": "latin.txt"}, "is not in UTF-8"),
        ({"--out": "no/x.safetensors"}, "No such file"),
        ({"--out": "."}, "is a folder"),
        ({"--dtype": "f8"}, "invalid choice"),
        ({"model": "nothing/here/at/all"}, "nothing/here/at/all: "),
        ({"model": "nothing.gguf"}, "there is no such file"),
        ({"model": "t5"}, "T5Config"),
        ({"model": "bert"}, "the model is no causal one"),
        ({"model": "gpt_oss"}, "layer 0: has learned sinks"),
        ({"model": "gemma2", "--layers": "0,1"}, "differ in window_size"),
    ],
)
def test_what_is_refused(llama, text, tmp_path, capsys, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "latin.txt").write_bytes(b"\xe9t\xe9")
    model = change.pop("model", llama)
    configs = {
        "t5": lambda: transformers.T5Config(d_model=16, num_layers=1),
        "bert": lambda: transformers.BertConfig(
            vocab_size=300,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=48,
        ),
        "gpt_oss": lambda: transformers.GptOssConfig(
            **SMALL, num_local_experts=2, num_experts_per_tok=1
        ),
        "gemma2": lambda: transformers.Gemma2Config(**SMALL, sliding_window=9),
    }
    if model in configs:
        config = configs[model]()
        model = str(tmp_path / model)
        if isinstance(config, transformers.T5Config):
            config.save_pretrained(model)
            _tokenizer(llama).save_pretrained(model)
        else:
            save(config, model)
    given = {"--text": text, "--layers": "0", "--tokens": "20", "--out": "x", **change}
    before = sorted(os.listdir())
    arguments = [word for pair in given.items() for word in pair]
    assert _capture.main([model, *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("heed: capture: ") and words in said
    assert said.count("\n") == 1
    assert sorted(os.listdir()) == before


@torch.no_grad()
def test_what_a_file_cannot_hold_or_does_not_say(tmp_path):
    made = heed.hf.capture(model_of(transformers.LlamaConfig(**SMALL)), tokens(30), [1])
    layers, path = made.layers, tmp_path / "x"
    safetensors.torch.save_file(_capture._tensors(layers, "f16"), path)
    assert _capture._check(path, layers, "f16") < 2e-3
    layers[1].window_size = (5, -1)  # not what the model computed
    with pytest.raises(_capture._Refused, match="off the model's own"):
        _capture._check(path, layers, "f16")
    layers[1].key[3, 0, 0] = 1e5
    with pytest.raises(_capture._Refused, match="its key has values that f16"):
        _capture._tensors(layers, "f16")
    assert _capture._tensors(layers, "bf16")
