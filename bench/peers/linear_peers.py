#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Times heed's scans against ONNX Runtime's com.microsoft.LinearAttention.

    bash tools/build.sh release --target heed heed_tbb
    python3 bench/peers/linear_peers.py [--threads 1] [--rounds 7] [FILTER...]

Python needs numpy, onnx and an onnxruntime that has the operator (1.32 and
later). One process, the same numbers, f32, calls interleaved round by round, the
best call of each counts. A time is shown only where the outputs agree.
"""
import argparse
import ctypes
import pathlib

import numpy as np
from peers import ROOT, best_times, compile_shim

# rule: has a decay, has a beta
RULES = {"linear": (False, False), "gated": (True, False), "delta": (False, True),
         "gated_delta": (True, True)}


class Problem:
    def __init__(self, rule, tokens, heads, dim):
        self.rule, self.heads, self.dim, self.tokens = rule, heads, dim, tokens
        rng = np.random.default_rng(1)
        draw = lambda d: rng.standard_normal((1, tokens, heads, d), dtype=np.float32)
        self.q, self.k, self.v = draw(dim), draw(dim), draw(dim)
        # As delta rules ask of keys.
        self.k /= np.linalg.norm(self.k, axis=-1, keepdims=True)
        self.decay = rng.uniform(-0.2, 0, (1, tokens, heads, 1)).astype(np.float32)
        self.beta = rng.uniform(0, 1, (1, tokens, heads, 1)).astype(np.float32)


class Heed:
    def __init__(self, library, problem, threads):
        self.library = library
        self.out = np.empty_like(problem.v)
        self.arrays = (problem.q, problem.k, problem.v, problem.decay, problem.beta, self.out)
        decay, beta = RULES[problem.rule]
        n = (ctypes.c_long * 6)(1, problem.tokens, problem.heads, problem.dim, decay, beta)
        data = (ctypes.c_void_p * 6)(*(x.ctypes.data for x in self.arrays))
        self.call = library.heed_linear_open(n, threads, data)
        if not self.call:
            raise RuntimeError("refused")

    def run(self):
        if self.library.heed_linear_run(self.call):
            raise RuntimeError("failed")

    def result(self):
        return self.out


class OnnxRuntime:
    def __init__(self, problem, threads):
        import onnxruntime
        from onnx import TensorProto, helper
        decay, beta = RULES[problem.rule]
        flat = lambda x: x.reshape(1, problem.tokens, -1)
        inputs = {"query": flat(problem.q), "key": flat(problem.k), "value": flat(problem.v)}
        names = ["query", "key", "value"]
        if decay or beta:
            names += ["", "decay" if decay else ""]
        if decay:
            inputs["decay"] = flat(problem.decay)
        if beta:
            names.append("beta")
            inputs["beta"] = flat(problem.beta)
        info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        state = (1, problem.heads, problem.dim, problem.dim)
        self.out = np.empty_like(inputs["value"])
        self.shape = problem.v.shape
        node = helper.make_node(
            "LinearAttention", names, ["output", "present_state"], domain="com.microsoft",
            update_rule=problem.rule, q_num_heads=problem.heads, kv_num_heads=problem.heads)
        graph = helper.make_graph(
            [node], "scan", [info(name, x.shape) for name, x in inputs.items()],
            [info("output", self.out.shape), info("present_state", state)])
        model = helper.make_model(graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.model = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                                  providers=["CPUExecutionProvider"])
        self.binding = self.model.io_binding()
        self.inputs, self.state = inputs, np.empty(state, np.float32)
        for name, x in inputs.items():
            self.binding.bind_input(name, "cpu", 0, np.float32, x.shape, x.ctypes.data)
        for name, x in (("output", self.out), ("present_state", self.state)):
            self.binding.bind_output(name, "cpu", 0, np.float32, x.shape, x.ctypes.data)

    def run(self):
        self.model.run_with_iobinding(self.binding)

    def result(self):
        return self.out.reshape(self.shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("filter", nargs="*", help="parts of names of cases")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each call a round")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    options = parser.parse_args()
    library = compile_shim(options.build, "linear_call")
    library.heed_linear_open.restype = ctypes.c_void_p
    library.heed_linear_run.argtypes = [ctypes.c_void_p]
    import onnxruntime
    print(f"onnxruntime {onnxruntime.__version__}, f32, {options.threads} threads, "
          f"{options.heads} heads, {options.tokens} tokens: ms, and how often heed's goes into it")
    for rule in RULES:
        for dim in (64, 128):
            name = f"{rule}_d{dim}"
            if options.filter and not any(f in name for f in options.filter):
                continue
            problem = Problem(rule, options.tokens, options.heads, dim)
            runners = {"heed": Heed(library, problem, options.threads),
                       "onnxruntime": OnnxRuntime(problem, options.threads)}
            for runner in runners.values():
                runner.run()
            want = runners["onnxruntime"].result()
            error = np.linalg.norm(runners["heed"].result() - want) / np.linalg.norm(want)
            if not error <= 1e-4:
                print(f"{name:18} off by {error:.1e}", flush=True)
                continue
            times = best_times(runners, options.rounds, options.seconds)
            print(f"{name:18} heed {times['heed'] * 1e3:7.2f}  "
                  f"onnxruntime {times['onnxruntime'] * 1e3:7.2f}  "
                  f"{times['onnxruntime'] / times['heed']:.2f}", flush=True)


if __name__ == "__main__":
    main()
