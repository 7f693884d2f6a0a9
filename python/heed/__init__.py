# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Attention on CPUs: exact, sparse and linear, with the same bits everywhere.

    import numpy as np, heed
    q = np.random.randn(1, 1024, 8, 64).astype(np.float32)   # [b, s, h, d]
    k, v = q[:, :, :2].copy(), q[:, :, :2].copy()            # 2 key heads
    out = heed.attention(q, k, v, causal=True)

attention       one call, on numpy arrays and whatever speaks DLPack
varlen          sequences of different lengths, packed; pages
with_kvcache    appends to a cache, turns by RoPE, attends
merge_state     two partial results as one
quantize_kv     keys and values of 8 or 4 bits, which the calls above take too
flash_attn_*    the same under flash-attn's names and signatures
run_variant     a sparse or linear variant, with its selection, cost and phases
compare         variants side by side: error against time, as a table and a report
variants, info, explain, set_num_threads, rope_tables

heed.torch, heed.hf and heed.jax are the doors to PyTorch, Hugging Face
transformers and JAX.

Tensors are taken in place: float32, bfloat16 or float16, with any strides that
are not negative and an innermost one of one element. Calls release the GIL. What
is refused is a ValueError (TypeError for what is no tensor, or of a dtype that
is not offered) with a sentence that names the argument; then nothing has been
written.
"""

from typing import Any, Dict

from heed import _heed
from heed._attention import (
    attention,
    explain,
    merge_state,
    rope_tables,
    varlen,
    with_kvcache,
)
from heed._compare import Comparison, compare
from heed._flash import (
    flash_attn_func,
    flash_attn_varlen_func,
    flash_attn_with_kvcache,
)
from heed._quantized import Quantized, quantize_kv
from heed._variants import VariantRun, run_variant, variants

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "Quantized",
    "VariantRun",
    "attention",
    "compare",
    "explain",
    "flash_attn_func",
    "flash_attn_varlen_func",
    "flash_attn_with_kvcache",
    "info",
    "merge_state",
    "quantize_kv",
    "rope_tables",
    "run_variant",
    "set_num_threads",
    "variants",
    "varlen",
    "with_kvcache",
]


def info() -> Dict[str, Any]:
    """Returns what this build and this CPU offer, as a dict.

    version; target (the kernel table that calls take) and targets (all, with
    why one is not usable); units (special instructions for narrow types);
    threads and threads_runtime ("OpenMP" where torch is imported, else "own").
    """
    return _heed.info()


def set_num_threads(num_threads: int) -> None:
    """Sets the threads that calls take, the caller's among them.

    0, as at the start, is as many as torch's OpenMP has, or without torch as
    many as processors that the process may run on. Results never depend on it.
    Raises ValueError outside 0 to 4096.
    """
    _heed.set_num_threads(num_threads)
