#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Times heed against the attention of other libraries, side by side.

    bash tools/build.sh release --target heed heed_tbb
    python3 bench/peers/peers.py [--threads 1] [--rounds 7] [FILTER...]

A peer is any of these that the Python at hand can import: torch, onnxruntime
(with onnx), openvino, and zentorch (which wants a torch of its own version, so
an environment of its own). numpy is needed.

One process, the same numbers, calls interleaved round by round, the best call
of each counts. A time is shown only where the output agrees with heed's.
Figures are useful GFLOP/s, and for few queries GB/s of keys and values. No two
libraries lay tensors out alike: each has [batch, heads, tokens, head_dim], heed
also [batch, tokens, heads, head_dim].
"""
import argparse
import ctypes
import pathlib
import subprocess
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
DTYPES = {"f32": 0, "bf16": 1}

# name: batch, heads, key heads, queries, keys, head_dim, causal
CASES = {
    "full_2048_d64": (1, 8, 8, 2048, 2048, 64, False),
    "full_4096_d128": (1, 1, 1, 4096, 4096, 128, False),
    "causal_2048_d64": (1, 8, 8, 2048, 2048, 64, True),
    "causal_2048_d128": (1, 8, 8, 2048, 2048, 128, True),
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


def to_bf16(x):
    """The upper halves, rounded to nearest even."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


class Problem:
    def __init__(self, case, dtype):
        b, h, kv, nq, nk, d, self.causal = case
        self.case, self.dtype = case, dtype
        rng = np.random.default_rng(1)
        draw = lambda *s: rng.standard_normal(s, dtype=np.float32)
        self.q, self.k, self.v = draw(b, h, nq, d), draw(b, kv, nk, d), draw(b, kv, nk, d)
        pairs = nq * nk
        if self.causal:
            pairs = sum(min(nk, i + 1 + nk - nq) for i in range(nq))
        self.flops = 4.0 * b * h * pairs * d
        self.bytes = 2.0 * b * kv * nk * d * (2 if dtype == "bf16" else 4)
        self.decode = nq == 1

    def arrays(self, bshd=False):
        out = [np.ascontiguousarray(x.transpose(0, 2, 1, 3)) if bshd else x
               for x in (self.q, self.k, self.v)]
        return [to_bf16(x) for x in out] if self.dtype == "bf16" else out


class Heed:
    def __init__(self, library, problem, bshd, threads):
        self.library, self.bshd = library, bshd
        self.arrays = problem.arrays(bshd)
        self.out = np.empty_like(self.arrays[0])
        b, h, kv, nq, nk, d, causal = problem.case
        n = (ctypes.c_long * 6)(b, h, kv, nq, nk, d)
        data = (ctypes.c_void_p * 4)(*(x.ctypes.data for x in (*self.arrays, self.out)))
        self.call = library.heed_peer_open(n, DTYPES[problem.dtype], causal, bshd, threads, data)
        if not self.call:
            raise RuntimeError("refused")

    def run(self):
        if self.library.heed_peer_run(self.call):
            raise RuntimeError("failed")

    def result(self):
        out = from_bf16(self.out) if self.out.dtype == np.uint16 else self.out
        return out.transpose(0, 2, 1, 3) if self.bshd else out


class Torch:
    def __init__(self, problem, threads, zentorch=False):
        import torch
        torch.set_num_threads(threads)
        self.torch = torch
        kind = torch.bfloat16 if problem.dtype == "bf16" else torch.float32
        self.q, self.k, self.v = (torch.from_numpy(x).to(kind) for x in
                                  (problem.q, problem.k, problem.v))
        self.causal, self.zentorch = problem.causal, zentorch
        self.options = {}
        if self.q.shape[1] != self.k.shape[1]:
            if zentorch:
                raise RuntimeError("no groups")
            self.options["enable_gqa"] = True

    def run(self):
        with self.torch.inference_mode():
            if self.zentorch:
                self.out = self.torch.ops.zentorch.zentorch_sdpa(
                    self.q, self.k, self.v, 0.0, self.causal)[0]
            else:
                self.out = self.torch.nn.functional.scaled_dot_product_attention(
                    self.q, self.k, self.v, is_causal=self.causal, **self.options)

    def result(self):
        return self.out.float().numpy()


class OnnxRuntime:
    """The standard operator Attention of opset 23."""

    def __init__(self, problem, threads):
        import onnx.parser
        import onnxruntime
        if problem.dtype != "f32":
            raise RuntimeError("f32 only")
        kind = lambda x: "float[" + ",".join(map(str, x.shape)) + "]"
        model = onnx.parser.parse_model(f"""
            <ir_version: 10, opset_import: ["": 23]>
            attention ({kind(problem.q)} q, {kind(problem.k)} k, {kind(problem.v)} v)
                => ({kind(problem.q)} o)
            {{ o = Attention <is_causal = {int(problem.causal)}> (q, k, v) }}""")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.model = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                                  providers=["CPUExecutionProvider"])
        self.binding = self.model.io_binding()
        self.out = np.empty_like(problem.q)
        self.inputs = {"q": problem.q, "k": problem.k, "v": problem.v}
        for name, x in self.inputs.items():
            self.binding.bind_input(name, "cpu", 0, np.float32, x.shape, x.ctypes.data)
        self.binding.bind_output("o", "cpu", 0, np.float32, self.out.shape, self.out.ctypes.data)

    def run(self):
        self.model.run_with_iobinding(self.binding)

    def result(self):
        return self.out


class OpenVino:
    def __init__(self, problem, threads):
        import openvino
        from openvino import opset13
        if problem.case[1] != problem.case[2]:
            raise RuntimeError("no groups")
        kind = openvino.Type.bf16 if problem.dtype == "bf16" else openvino.Type.f32
        inputs = [opset13.parameter(x.shape, kind) for x in (problem.q, problem.k, problem.v)]
        node = opset13.scaled_dot_product_attention(*inputs, causal=problem.causal)
        model = openvino.Model([node], inputs)
        precision = "bf16" if problem.dtype == "bf16" else "f32"
        compiled = openvino.Core().compile_model(model, "CPU", {
            "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": 1})
        self.request = compiled.create_infer_request()
        self.bf16 = problem.dtype == "bf16"
        for i, x in enumerate(problem.arrays()):
            tensor = openvino.Tensor(kind, x.shape)
            (tensor.data.view(np.uint16) if self.bf16 else tensor.data)[:] = x
            self.request.set_input_tensor(i, tensor)

    def run(self):
        self.request.infer()

    def result(self):
        data = self.request.get_output_tensor(0).data
        return from_bf16(data.view(np.uint16)) if self.bf16 else data


def compile_shim(build, name):
    """The functions of name.cc beside this, with the library in them."""
    shim = build / f"lib{name}.so"
    subprocess.run(["c++", "-std=c++17", "-O2", "-shared", "-fPIC", f"-I{ROOT}/include",
                    str(ROOT / f"bench/peers/{name}.cc"), str(build / "lib/libheed_tbb.a"),
                    str(build / "lib/libheed.a"), "-ltbb", "-o", str(shim)], check=True)
    return ctypes.CDLL(str(shim))


def open_library(build):
    library = compile_shim(build, "heed_call")
    library.heed_peer_open.restype = ctypes.c_void_p
    library.heed_peer_run.argtypes = [ctypes.c_void_p]
    return library


def best_times(runners, rounds, seconds):
    best = {name: float("inf") for name in runners}
    for _ in range(rounds):
        for name, runner in runners.items():
            end = time.perf_counter() + seconds
            while True:
                start = time.perf_counter()
                runner.run()
                now = time.perf_counter()
                best[name] = min(best[name], now - start)
                if now > end:
                    break
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("filter", nargs="*", help="parts of names of cases")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each call a round")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    options = parser.parse_args()
    library = open_library(options.build)
    makers = {
        "torch": lambda p: Torch(p, options.threads),
        "onnxruntime": lambda p: OnnxRuntime(p, options.threads),
        "openvino": lambda p: OpenVino(p, options.threads),
        "zentorch": lambda p: Torch(p, options.threads, zentorch=True),
    }
    try:
        import zentorch  # noqa: F401
    except ImportError:
        del makers["zentorch"]
    print(f"{options.dtype}, {options.threads} threads: GFLOP/s, or GB/s for one query; "
          "heed over the fastest other")
    for name, case in CASES.items():
        if options.filter and not any(f in name for f in options.filter):
            continue
        problem = Problem(case, options.dtype)
        runners = {"heed": Heed(library, problem, False, options.threads),
                   "heed_bshd": Heed(library, problem, True, options.threads)}
        notes = []
        for peer, make in makers.items():
            try:
                runners[peer] = make(problem)
                runners[peer].run()
            except Exception as error:  # what a peer cannot do is its own word
                runners.pop(peer, None)
                notes.append(f"{peer}: {str(error).splitlines()[0][:60]}")
        for runner in runners.values():
            runner.run()
        truth = runners["heed"].result()
        bound = 0.03 if options.dtype == "bf16" else 1e-5
        for peer in list(runners):
            error = float(np.max(np.abs(runners[peer].result() - truth)))
            if not error <= bound:
                del runners[peer]
                notes.append(f"{peer}: off by {error:.1e}")
        times = best_times(runners, options.rounds, options.seconds)
        rate = {n: (problem.bytes if problem.decode else problem.flops) / t * 1e-9
                for n, t in times.items()}
        heed = max(rate.pop("heed"), 0)
        strided = rate.pop("heed_bshd")
        fastest = max(rate.values(), default=float("nan"))
        print(f"{name:18} heed {heed:6.1f}  bshd {strided:6.1f}  " +
              "  ".join(f"{n} {r:.1f}" for n, r in rate.items()) +
              f"  ratio {heed / fastest:.2f} / {strided / fastest:.2f}" +
              (f"   ({'; '.join(notes)})" if notes else ""), flush=True)


if __name__ == "__main__":
    main()
