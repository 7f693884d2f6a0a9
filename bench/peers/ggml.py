# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Attention of ggml (llama.cpp), by the shared libraries that a package brings.

Those of the folder that $HEED_GGML names, of llama-cpp-python or of pywhispercpp,
the first that is there. Which instructions they were compiled for is their own
matter: units() tells. Keys and values are float32 for problems of float32 and
float16 for those of 16 bits, which is what llama.cpp itself keeps.
"""

import ctypes
import functools
import importlib.util
import os
import pathlib

import numpy as np

PACKAGES = ("llama_cpp", "pywhispercpp")  # import names, whose folders are searched
F32, F16 = 0, 1  # ggml_type
MASK_ROWS = 64  # versions ask for masks of a multiple of so many rows
HEADERS = 1 << 20  # bytes for what ggml notes of tensors and of the graph


class Parameters(ctypes.Structure):
    """ggml_init_params."""

    _fields_ = [
        ("mem_size", ctypes.c_size_t),
        ("mem_buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    ]


def _folders():
    if "HEED_GGML" in os.environ:
        yield pathlib.Path(os.environ["HEED_GGML"])
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for place in spec.submodule_search_locations or () if spec else ():
            yield pathlib.Path(place)
            yield pathlib.Path(f"{place}.libs")  # where auditwheel puts them


def _score(path):
    """What a library says of itself on this CPU: 0 is not usable."""
    library = ctypes.CDLL(str(path), ctypes.RTLD_LOCAL)
    return library.ggml_backend_score() if hasattr(library, "ggml_backend_score") else 1


def _declare(library, name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


class _Library:
    """The functions that are called, by their names without "ggml_"."""

    def __init__(self, base, cpu):
        at, number = ctypes.c_void_p, ctypes.c_int64
        for library, name, result, *arguments in (
            (base, "init", at, Parameters),
            (base, "free", None, at),
            (base, "new_tensor_4d", at, at, ctypes.c_int, *[number] * 4),
            (base, "get_data", at, at),
            (base, "flash_attn_ext", at, *[at] * 5, *[ctypes.c_float] * 3),
            (base, "new_graph", at, at),
            (base, "build_forward_expand", None, at, at),
            (base, "threadpool_params_init", None, at, ctypes.c_int),
            (cpu, "threadpool_new", at, at),
            (cpu, "threadpool_free", None, at),
            (cpu, "backend_cpu_init", at),
            (cpu, "backend_cpu_set_n_threads", None, at, ctypes.c_int),
            (cpu, "backend_cpu_set_threadpool", None, at, at),
            (base, "backend_graph_compute", ctypes.c_int, at, at),
            (base, "backend_free", None, at),
        ):
            setattr(self, name, _declare(library, f"ggml_{name}", result, *arguments))
        self.units = [
            unit
            for unit in ("avx2", "fma", "f16c", "avx512", "avx512_bf16", "neon", "sve")
            if hasattr(cpu, f"ggml_cpu_has_{unit}")
            and _declare(cpu, f"ggml_cpu_has_{unit}", ctypes.c_int)()
        ]


@functools.cache
def load():
    """The library of the first folder that has one; raises where there is none."""
    for folder in _folders():
        found = {
            kind: sorted(folder.rglob(f"libggml-{kind}*.so*"))
            for kind in ("base", "cpu")
        }
        if not all(found.values()):
            continue
        base = ctypes.CDLL(str(found["base"][0]), ctypes.RTLD_GLOBAL)
        scores = {path: _score(path) for path in found["cpu"]}
        best = max(scores, key=scores.get)
        if scores[best] > 0:
            return _Library(base, ctypes.CDLL(str(best)))
    raise ModuleNotFoundError("No module named llama_cpp with ggml's shared libraries")


def units():
    """The instructions that ggml uses here, or None where there is no ggml."""
    try:
        return load().units
    except (OSError, ImportError, AttributeError):
        return None


class Ggml:
    """ggml_flash_attn_ext, in a graph of its own that is made once."""

    def __init__(self, problem, threads):
        self.library = library = load()
        q, k, v = problem.q, problem.k, problem.v
        self.shape = (q.shape[0], q.shape[2], q.shape[1], v.shape[3])  # bshd
        kind = np.float32 if problem.dtype == "f32" else np.float16
        mask = self._mask(q.shape[2], k.shape[2]) if problem.causal else None
        arrays = [q.astype(np.float32), k.astype(kind), v.astype(kind)]
        size = sum(x.nbytes for x in arrays) + arrays[0].nbytes + HEADERS
        size += mask.nbytes if mask is not None else 0
        self.context = library.init(Parameters(size, None, False))
        if not self.context:
            raise MemoryError("ggml gave no context")
        tensors = [self._tensor(x) for x in arrays]
        tensors.append(self._tensor(mask) if mask is not None else None)
        scale = q.shape[3] ** -0.5
        self.out = library.flash_attn_ext(self.context, *tensors, scale, 0.0, 0.0)
        self.graph = library.new_graph(self.context)
        library.build_forward_expand(self.graph, self.out)
        self.backend = library.backend_cpu_init()
        library.backend_cpu_set_n_threads(self.backend, threads)
        # A struct that versions lengthen, filled by ggml itself.
        parameters = ctypes.create_string_buffer(4096)
        library.threadpool_params_init(parameters, threads)
        self.pool = library.threadpool_new(parameters)
        library.backend_cpu_set_threadpool(self.backend, self.pool)

    @staticmethod
    def _mask(rows, keys):
        """float16 [1, 1, rows and some more, keys], added to scores."""
        padded = -(-rows // MASK_ROWS) * MASK_ROWS
        ahead = np.arange(keys)[None, :] > np.arange(padded)[:, None] + keys - rows
        return np.where(ahead, -np.inf, 0).astype(np.float16)[None, None]

    def _tensor(self, x):
        kind = F32 if x.dtype == np.float32 else F16
        tensor = self.library.new_tensor_4d(self.context, kind, *reversed(x.shape))
        x = np.ascontiguousarray(x)
        ctypes.memmove(self.library.get_data(tensor), x.ctypes.data, x.nbytes)
        return tensor

    def run(self):
        if self.library.backend_graph_compute(self.backend, self.graph) != 0:
            raise RuntimeError("ggml failed")

    def result(self):
        data = ctypes.cast(
            self.library.get_data(self.out), ctypes.POINTER(ctypes.c_float)
        )
        return np.ctypeslib.as_array(data, self.shape).transpose(0, 2, 1, 3).copy()

    def __del__(self):
        if hasattr(self, "pool"):
            self.library.backend_free(self.backend)
            self.library.threadpool_free(self.pool)
        if getattr(self, "context", None):
            self.library.free(self.context)
