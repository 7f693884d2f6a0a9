# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Variants side by side: the command `heed compare`, from Python."""

import html
import json
import os
import pathlib
import struct
import subprocess
import tempfile
from typing import Any, Dict, Iterator, List, Optional, Sequence, Union

import numpy as np

from heed import _command
from heed._types import Tensor


class Comparison:
    """What compare() returns: one row a setting, each checked before it was timed.

    rows: a list of dicts, ready for pandas.DataFrame(): name, time (seconds),
        speedup, density, mass_mean, rel_l2, max_abs, cosine, flops, bytes, gate,
        pareto and others, which result["definitions"] explains.
    result: the whole run, as `heed compare --json` writes it.
    html: the report, a page that needs no network; Jupyter shows it.
    text: the table that the command prints.
    """

    def __init__(self, result: Dict[str, Any], html: str, text: str):
        self.result = result
        self.html = html
        self.text = text
        self.rows: List[Dict[str, Any]] = [
            {key: value for key, value in row.items() if not isinstance(value, list)}
            for row in result["rows"]
        ]

    def to_frame(self):
        """Returns the rows as a pandas.DataFrame."""
        import pandas

        return pandas.DataFrame(self.rows)

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self):
        return self.text

    def __repr__(self):
        return f"<heed.Comparison of {len(self.rows)} rows>"

    def _repr_html_(self) -> str:
        page = html.escape(self.html, quote=True)
        return (
            f'<iframe srcdoc="{page}" width="100%" height="720" '
            'style="border:0"></iframe>'
        )


def _as_f32(name, tensor):
    if hasattr(tensor, "detach"):  # torch's, also bfloat16, which numpy lacks
        tensor = tensor.detach().float()
    array = np.ascontiguousarray(np.asarray(tensor), dtype=np.float32)
    if array.ndim not in (3, 4):
        raise ValueError(f"{name}: needs 3 or 4 axes, got {array.ndim}")
    return array


def _write_safetensors(path, tensors):
    header, begin = {}, 0
    for name, array in tensors.items():
        end = begin + array.nbytes
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(array.data)


def compare(
    q: Optional[Tensor] = None,
    k: Optional[Tensor] = None,
    v: Optional[Tensor] = None,
    *,
    variants: Union[str, Sequence[str]] = (),
    input: Union[None, str, "os.PathLike[str]"] = None,
    problem: Optional[str] = None,
    causal: Optional[bool] = None,
    softmax_scale: Optional[float] = None,
    window_left: int = -1,
    softcap: float = 0.0,
    sink_size: int = 0,
    layout: str = "bshd",
    threads: int = 0,
    repeats: int = 5,
    options: Sequence[str] = (),
) -> Comparison:
    """Runs variants side by side on the same tensors and returns a Comparison.

    q, k, v: [seqlen, heads, head_dim], or with a batch axis in front, of any
        float type, as layout says; or instead input, a safetensors file of
        captured tensors, or problem, such as "b1_h8_kv2_d64_q512_k512_f32_causal"
        of drawn numbers; with none of these, a sample of a real model.
    variants: names with knobs, "window_sink:window=256,512:sink=4"; without,
        all of them.
    causal: None is what the file says, else yes.
    options: further options of `heed compare`, as on a command line.

    The other arguments are those of attention(). What the command refuses is a
    ValueError with its sentence.
    """
    given = [part is not None for part in (q, k, v)]
    if any(given) and not all(given):
        raise ValueError("q, k, v: all three are given, or none")
    if sum([all(given), input is not None, problem is not None]) > 1:
        raise ValueError("q, k, v and input and problem: one of them is given")
    if problem is not None:
        # A problem says these itself.
        for name, given_one in {
            "causal": causal is not None,
            "softmax_scale": softmax_scale is not None,
            "window_left": window_left != -1,
            "softcap": softcap != 0,
            "sink_size": sink_size != 0,
        }.items():
            if given_one:
                raise ValueError(f"{name}: not with a problem, which says it itself")
    command = [_command.path(), "compare"]
    if isinstance(variants, str):
        variants = [variants]
    with tempfile.TemporaryDirectory(prefix="heed_") as folder:
        folder = pathlib.Path(folder)
        if all(given):
            input = folder / "tensors.safetensors"
            tensors = {"query": q, "key": k, "value": v}
            _write_safetensors(
                input, {name: _as_f32(name, t) for name, t in tensors.items()}
            )
        if problem is not None:
            command += ["--problem", problem]
        else:
            if input is not None:
                command += ["--input", os.fspath(input), "--layout", layout]
            if softmax_scale is not None:
                command += ["--scale", repr(float(softmax_scale))]
            if softcap:
                command += ["--softcap", repr(float(softcap))]
            command += ["--window-left", str(window_left), "--sink", str(sink_size)]
            if causal is not None:
                command.append("--causal" if causal else "--no-causal")
        command += ["--threads", str(threads), "--repeats", str(repeats)]
        command += ["--json", str(folder / "run.json")]
        command += ["--html", str(folder / "run.html")]
        run = subprocess.run(
            [*command, *map(str, options), *map(str, variants)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if run.returncode not in (0, 1, 3):
            sentence = run.stderr.strip().splitlines()
            raise ValueError(sentence[-1] if sentence else "heed compare failed")
        return Comparison(
            json.loads((folder / "run.json").read_text()),
            (folder / "run.html").read_text(),
            run.stdout,
        )
