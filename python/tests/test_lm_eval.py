# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed-lm-eval on the example task, offline, against the model's own attention.

Skipped where lm_eval, torch or transformers is not installed.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("lm_eval")

from heed._lm_eval import _names_no_attention  # noqa: E402
from small_models import SMALL, save  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE = "from heed._lm_eval import main; main()"


def evaluate(model, attention, out):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    environment["HF_HOME"] = str(out / "home")
    run = subprocess.run(
        [sys.executable, "-c", CODE, "--model", "hf"]
        + ["--model_args", f"pretrained={model}{attention}", "--device", "cpu"]
        + ["--include_path", "examples/lm_eval", "--tasks", "heed_example"]
        + ["--output_path", str(out), "--log_samples"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    (samples,) = out.rglob("samples_heed_example_*.jsonl")
    lines = samples.read_text().splitlines()
    numbers = [
        [float(answer[0][0]) for answer in json.loads(line)["resps"]] for line in lines
    ]
    return numbers, run.stderr


@pytest.mark.parametrize(
    "words",
    [["--model_args", "{}"], ["--model_args={}"], ["-a", "{}"], ["-a{}"]]
    + [["run", "--model_arg", "x=y", "{}"]],
)
def test_a_model_on_its_own_attention_is_noticed(words):
    def asked(arguments):
        line = [word.format(arguments) for word in words]
        return _names_no_attention(["--model", "hf", *line, "--tasks", "x"])

    assert asked("pretrained=m")
    assert not asked("pretrained=m,attn_implementation=heed")
    assert not _names_no_attention(["--model", "hf", "--model=hf", "--apply_chat_template"])


def test_gives_what_the_models_own_attention_gives(tmp_path):
    model = save(transformers.LlamaConfig(**SMALL), tmp_path / "small_llama")
    note = "heed-lm-eval: --model_args has no attn_implementation"
    found = {}
    for attention in ("", ",attn_implementation=heed"):
        folder = tmp_path / f"run{len(found)}"
        folder.mkdir()
        found[attention], said = evaluate(model, attention, folder)
        assert (note in said) == (not attention)
    want, got = found.values()
    assert len(want) == 20 and len(want[0]) == 4
    for a, b in zip(want, got):
        assert b == pytest.approx(a, abs=2e-3)
