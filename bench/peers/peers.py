#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Times heed against the attention of other libraries, side by side.

    pip install . -r bench/peers/requirements.txt
    python3 bench/peers/peers.py [--threads 1] [--rounds 7] [--json FILE] [FILTER...]

A peer is any form in which a library that the Python at hand can import has
attention (contenders.py): torch, onnxruntime (with onnx), openvino, ggml (ggml.py,
by the shared libraries of pywhispercpp, or of llama-cpp-python, which pip compiles
for this CPU), and zentorch (which wants a torch of its own version, so an
environment of its own).

One process, the same numbers, calls interleaved round by round, the best call
of each counts. A time is shown only where the output agrees with heed's.
Figures are useful GFLOP/s, and for few queries GB/s of keys and values. No two
libraries lay tensors out alike: each has what suits it, heed [batch, heads,
tokens, head_dim] and, as "bshd", [batch, tokens, heads, head_dim].
"""

import argparse
import json
import pathlib
import sys
import time

from machine import machine, start

start()  # before any framework: how its threads wait

import ml_dtypes  # noqa: E402
import numpy as np  # noqa: E402

import ggml  # noqa: E402
from contenders import HEED, OTHERS  # noqa: E402

# name: batch, heads, key heads, queries, keys, head_dim, causal
CASES = {
    "full_2048_d64": (1, 8, 8, 2048, 2048, 64, False),
    "full_4096_d128": (1, 1, 1, 4096, 4096, 128, False),
    "causal_2048_d64": (1, 8, 8, 2048, 2048, 64, True),
    "causal_2048_d128": (1, 8, 8, 2048, 2048, 128, True),
    "grouped_2048_d64": (1, 9, 3, 2048, 2048, 64, True),
    "b8_16": (8, 12, 12, 16, 16, 64, False),
    "b8_32": (8, 12, 12, 32, 32, 64, False),
    "b8_48": (8, 12, 12, 48, 48, 64, False),
    "b8_64": (8, 12, 12, 64, 64, 64, False),
    "b8_128": (8, 12, 12, 128, 128, 64, False),
    "b1_64": (1, 12, 12, 64, 64, 64, False),
    "b1_128": (1, 12, 12, 128, 128, 64, False),
    "vit_197": (1, 16, 16, 197, 197, 64, False),
    "decode_32_8": (1, 32, 8, 1, 16384, 128, False),
    "decode_8_8": (1, 8, 8, 1, 32768, 128, False),
}
DTYPES = {"f32": np.float32, "bf16": ml_dtypes.bfloat16}
SLEEP = 0.02  # seconds between turns, after which no pool spins any more
PACKAGES = (
    "heed",
    "numpy",
    "torch",
    "onnxruntime",
    "onnx",
    "openvino",
    "llama-cpp-python",
    "pywhispercpp",
    "zentorch",
)


class Problem:
    """q, k, v [batch, heads, tokens, head_dim], and what they cost."""

    def __init__(self, case, dtype):
        b, h, kv, nq, nk, d, self.causal = case
        self.case, self.dtype = case, dtype
        rng = np.random.default_rng(1)
        self.q, self.k, self.v = (
            rng.standard_normal(shape, np.float32).astype(DTYPES[dtype])
            for shape in ((b, h, nq, d), (b, kv, nk, d), (b, kv, nk, d))
        )
        pairs = nq * nk
        if self.causal:
            pairs = sum(min(nk, i + 1 + nk - nq) for i in range(nq))
        self.decode = nq == 1
        flops = 4.0 * b * h * pairs * d
        self.work = self.k.nbytes + self.v.nbytes if self.decode else flops


def best_times(runners, rounds, seconds):
    best = {name: float("inf") for name in runners}
    for turn in range(rounds):
        names = list(runners)
        for name in names if turn % 2 else reversed(names):
            time.sleep(SLEEP)
            end = time.perf_counter() + seconds
            while True:
                start = time.perf_counter()
                runners[name].run()
                now = time.perf_counter()
                best[name] = min(best[name], now - start)
                if now > end:
                    break
    return best


def open_all(problem, threads):
    """Runners whose outputs agree, and what became of the others."""
    runners = {name: make(problem, threads) for name, make in HEED.items()}
    notes = {}
    for runner in runners.values():
        runner.run()
    truth = next(iter(runners.values())).result()
    bound = 0.03 if problem.dtype == "bf16" else 1e-5
    for name, make in {**OTHERS, **HEED}.items():
        try:
            runner = runners.get(name) or make(problem, threads)
            runner.run()
            off = float(np.max(np.abs(runner.result() - truth)))
        except Exception as error:  # what a peer cannot do is its own word
            lines = str(error).strip().splitlines() or [type(error).__name__]
            notes[name] = lines[0][:100]
            continue
        if off <= bound:
            runners[name] = runner
        else:
            runners.pop(name, None)
            notes[name] = f"off by {off:.1e}"
    return runners, notes


def measure(problem, options):
    runners, notes = open_all(problem, options.threads)
    times = best_times(runners, options.rounds, options.seconds)
    rates = {name: problem.work / spent * 1e-9 for name, spent in times.items()}
    fastest = max((rates[n] for n in rates if n not in HEED), default=float("nan"))
    over = {name: rates[name] / fastest for name in rates if name in HEED}
    return {"rates": rates, "seconds": times, "over": over, "left_out": notes}


def show(name, row):
    rates = "  ".join(f"{peer} {rate:.1f}" for peer, rate in row["rates"].items())
    over = ", ".join(f"{ratio:.2f}" for ratio in row["over"].values())
    print(f"{name:18} {rates}  ratio {over}", flush=True)
    for peer, why in row["left_out"].items():
        if not why.startswith("No module named"):
            print(f"{'':18}   {peer}: {why}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("filter", nargs="*", help="parts of names of cases")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each a round")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--json", type=pathlib.Path, help="write the run here too")
    options = parser.parse_args()
    names = [
        name
        for name in CASES
        if not options.filter or any(part in name for part in options.filter)
    ]
    if not names:
        parser.error("no case has such a name: " + ", ".join(CASES))
    print(
        f"{options.dtype}, {options.threads} threads: GFLOP/s, or GB/s for one query; "
        "ratio: heed over the fastest other, in both of its layouts"
    )
    rows = {}
    for name in names:
        rows[name] = measure(Problem(CASES[name], options.dtype), options)
        show(name, rows[name])
    if options.json:
        result = {
            **machine(options.threads, PACKAGES),
            "ggml_units": ggml.units(),
            "dtype": options.dtype,
            "rounds": options.rounds,
            "rows": rows,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
