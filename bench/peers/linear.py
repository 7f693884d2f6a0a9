#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Times heed's linear attention beside ONNX Runtime's operator LinearAttention.

    python3 bench/peers/linear.py [--threads 1] [--rounds 7] [--json FILE]

Its four rules are heed's variants linear (no map, not normalised), simple_gla,
deltanet and gated_delta, on the same numbers; a time is shown only where outputs
agree. heed is called through its Python package, which takes workspace anew each
time.
"""

import argparse
import functools
import json
import pathlib
import sys

from machine import machine, start

start()  # before any framework: how its threads wait

import numpy as np  # noqa: E402

import heed  # noqa: E402
from contenders import Flat  # noqa: E402
from peers import best_times  # noqa: E402

# rule: variant, and which of decay and beta it takes
RULES = {
    "linear": ("linear:map=2:normalise=0", ()),
    "gated": ("simple_gla", ("decay",)),
    "delta": ("deltanet", ("beta",)),
    "gated_delta": ("gated_delta", ("decay", "beta")),
}
SHAPES = [(1, 2, 4096, 128), (1, 8, 2048, 64), (1, 8, 2048, 128), (8, 8, 128, 64)]


class Problem:
    """Rows of unit length, as delta rules want them."""

    def __init__(self, shape):
        batch, heads, tokens, _ = self.shape = shape
        rng = np.random.default_rng(1)
        self.q, self.k, self.v = (
            rng.standard_normal(shape, np.float32) for _ in range(3)
        )
        for x in (self.q, self.k):
            x /= np.linalg.norm(x, axis=-1, keepdims=True)
        numbers = (batch, tokens, heads)
        self.decay = -0.1 * rng.random(numbers, np.float32)
        self.beta = rng.random(numbers, np.float32)


class Heed:
    def __init__(self, problem, rule, threads):
        heed.set_num_threads(threads)
        variant, takes = RULES[rule]
        names = {"decay": "gate", "beta": "beta"}
        self.out = np.empty_like(problem.q)
        self.run = functools.partial(
            heed.run_variant,
            variant,
            problem.q,
            problem.k,
            problem.v,
            causal=True,
            inputs={names[name]: getattr(problem, name)[..., None] for name in takes},
            out=self.out,
            record=False,
            layout="bhsd",
        )

    def result(self):
        return self.out


class OnnxLinear(Flat):
    def __init__(self, problem, rule, threads):
        takes = RULES[rule][1]
        batch, self.heads, _, head_dim = problem.shape
        self.out = np.empty_like(self.flat(problem.q))
        state = np.empty((batch, self.heads, head_dim, head_dim), np.float32)
        super().__init__(
            threads,
            "com.microsoft",
            "LinearAttention",
            1,
            {
                "query": self.flat(problem.q),
                "key": self.flat(problem.k),
                "value": self.flat(problem.v),
                "past_state": None,
                "decay": problem.decay if "decay" in takes else None,
                "beta": problem.beta if "beta" in takes else None,
            },
            {"output": self.out, "present_state": state},
            q_num_heads=self.heads,
            kv_num_heads=self.heads,
            update_rule=rule,
            scale=head_dim**-0.5,
        )


def measure(shape, rule, options):
    problem = Problem(shape)
    runners = {
        "heed": Heed(problem, rule, options.threads),
        "onnxruntime": OnnxLinear(problem, rule, options.threads),
    }
    for runner in runners.values():
        runner.run()
    mine, theirs = (runner.result() for runner in runners.values())
    row = {"shape": shape, "rule": rule, "off": float(np.abs(mine - theirs).max())}
    row["largest"] = float(np.abs(theirs).max())
    if row["off"] <= 1e-5 * max(1.0, row["largest"]):
        row["seconds"] = best_times(runners, options.rounds, options.seconds)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each a round")
    parser.add_argument("--json", type=pathlib.Path, help="write the run here too")
    options = parser.parse_args()
    rows = []
    for shape in SHAPES:
        for rule in RULES:
            row = measure(shape, rule, options)
            rows.append(row)
            name = f"b{shape[0]}_h{shape[1]}_n{shape[2]}_d{shape[3]} {rule}"
            if "seconds" not in row:
                print(f"{name:30} outputs differ by {row['off']:.1e}: not timed")
                continue
            mine, theirs = (1e3 * spent for spent in row["seconds"].values())
            print(
                f"{name:30} heed {mine:8.2f} ms  onnxruntime {theirs:8.2f} ms  "
                f"ratio {theirs / mine:.2f}",
                flush=True,
            )
    if options.json:
        result = {
            **machine(options.threads, ("heed", "numpy", "onnxruntime", "onnx")),
            "rounds": options.rounds,
            "rows": rows,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all("seconds" in row for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
