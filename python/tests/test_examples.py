# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The notebooks: what the programs beside them say, and they run, headless."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NEEDS = {"attend": ["safetensors"], "afford": [], "one_line": ["torch", "transformers"]}
SAYS = {
    "attend": "the bits of one call",
    "afford": "nothing here is faster",
    "one_line": "heed/window_sink?window=128",
}


def test_are_made_from_the_programs():
    run = subprocess.run(
        [sys.executable, ROOT / "tools/notebooks.py", "--check"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    found = {path.stem for path in (ROOT / "examples/python").glob("*.ipynb")}
    assert found == set(NEEDS)


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_runs(name, tmp_path):
    for package in NEEDS[name]:
        pytest.importorskip(package)
    notebook = json.loads((ROOT / f"examples/python/{name}.ipynb").read_text())
    assert notebook["cells"][0]["cell_type"] == "markdown"
    cells = [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    code = "\n\n".join(cells).replace("plt.show()", "plt.savefig('x.png')")
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert SAYS[name] in run.stdout
