# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Exact attention: documentation and defaults; the work is in _heed."""

from typing import Any, Dict, Optional, Sequence, Tuple, Union

import numpy as np

from heed._heed import attend as _attend
from heed._heed import explain as _explain
from heed._heed import merge_state as _merge_state
from heed._heed import rope_frequencies as _rope_frequencies
from heed._heed import rope_tables as _rope_tables
from heed._heed import scaled_rope_tables as _scaled_rope_tables
from heed._heed import with_kvcache as _with_kvcache
from heed._quantized import lend as _lend
from heed._types import Integers, Tensor, Window


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: Window = (-1, -1),
    softcap: float = 0.0,
    sink_size: int = 0,
    causal_offset: Optional[int] = None,
    bias: Optional[Tensor] = None,
    mask: Optional[Tensor] = None,
    alibi_slopes: Optional[Tensor] = None,
    sink_logits: Optional[Tensor] = None,
    out: Optional[Tensor] = None,
    return_lse: bool = False,
    layout: str = "bshd",
    numerics: str = "fast",
) -> Any:
    """Returns softmax(softmax_scale * q k^T + bias) v, blocked and exact.

    Never forms the scores (Dao et al. 2022, arXiv:2205.14135). Arguments mean
    what they mean in flash-attn: windows are inclusive, masks are aligned to
    the bottom right, and a row that sees no key gives 0 (lse -inf).

    q: [batch, seqlen_q, heads, head_dim], float32, bfloat16 or float16; numpy
        arrays, torch tensors, or what else has the buffer protocol or DLPack.
    k, v: [batch, seqlen_k, kv_heads, head_dim] and [..., head_dim_v]; heads is
        a multiple of kv_heads, and query head h reads key head
        h // (heads // kv_heads). Their dtypes may differ from q's; either may
        be Quantized.
    softmax_scale: multiplies the scores; None (or 0) is 1 / sqrt(head_dim).
    causal: row i sees keys up to i + causal_offset.
    window_size: (left, right), keys seen beside a row's own position; -1: all.
    softcap: scores become softcap * tanh(score / softcap); 0 is off.
    sink_size: first keys that a window never hides.
    causal_offset: the position of row 0; None is seqlen_k - seqlen_q.
    bias: added to scores; broadcasts to [batch, heads, seqlen_q, seqlen_k].
    mask: bool of the same extents; False hides a key.
    alibi_slopes: float32 [heads] or [batch, heads] (Press et al. 2022).
    sink_logits: float32 [heads] or [batch, heads]: the score of one more key
        whose value is 0.
    out: a tensor to write to, of q's extents with head_dim_v; may overlap no
        other. Without it one is made, by torch for its tensors, else by numpy,
        of q's dtype and layout.
    return_lse: also returns the natural logarithm of the sum of exp(score),
        float32 [batch, heads, seqlen_q].
    layout: "bshd"; "bhsd" for [batch, heads, seqlen, head_dim]; "thd" for one
        sequence [tokens, heads, head_dim], whose lse is [heads, tokens].
    numerics: "fast", or "same" for the bits of every other CPU also where
        bfloat16 could be multiplied by instructions of its own. float32 has
        the same bits anyway.

    Raises ValueError and TypeError, with a sentence that names the argument
    and nothing written. Tensors that need gradients are refused: see
    heed.torch.attention.
    """
    return _attend(
        q,
        _lend(k),
        _lend(v),
        softmax_scale,
        causal,
        window_size,
        softcap,
        sink_size,
        causal_offset,
        bias,
        mask,
        alibi_slopes,
        sink_logits,
        None,
        None,
        None,
        None,
        out,
        return_lse,
        layout,
        numerics,
    )


def varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    cu_seqlens_q: Optional[Integers] = None,
    cu_seqlens_k: Optional[Integers] = None,
    seqlens_k: Optional[Integers] = None,
    page_table: Optional[Integers] = None,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: Window = (-1, -1),
    softcap: float = 0.0,
    sink_size: int = 0,
    bias: Optional[Tensor] = None,
    mask: Optional[Tensor] = None,
    alibi_slopes: Optional[Tensor] = None,
    sink_logits: Optional[Tensor] = None,
    out: Optional[Tensor] = None,
    return_lse: bool = False,
    layout: str = "thd",
    numerics: str = "fast",
) -> Any:
    """Returns attention of sequences of different lengths, in one call.

    Each has the bits of a call of its own. Of the arguments that attention()
    has, those here mean the same.

    q: packed, [tokens, heads, head_dim]; or, with layout "bshd", [sequences,
        seqlen_q, heads, head_dim] without cu_seqlens_q.
    cu_seqlens_q: int32 [sequences + 1], from 0 to the number of tokens: sequence
        s has the rows cu_seqlens_q[s] to cu_seqlens_q[s + 1] - 1.
    k, v: packed with cu_seqlens_k; or, with page_table, pools [num_pages,
        page_size, kv_heads, head_dim]; or, in layout "bshd", [sequences,
        seqlen_k, kv_heads, head_dim], of which seqlens_k keys count.
    seqlens_k: int32 [sequences]; required with page_table.
    page_table: int32 [sequences, pages]: position p of sequence s stands in
        page page_table[s, p // page_size], row p % page_size.
    alibi_slopes, sink_logits: [heads] or [sequences, heads].

    Lists may be int64 or sequences of int too, which are copied. lse is
    [heads, tokens], or as in attention().
    """
    return _attend(
        q,
        _lend(k),
        _lend(v),
        softmax_scale,
        causal,
        window_size,
        softcap,
        sink_size,
        None,
        bias,
        mask,
        alibi_slopes,
        sink_logits,
        cu_seqlens_q,
        cu_seqlens_k,
        seqlens_k,
        page_table,
        out,
        return_lse,
        layout,
        numerics,
    )


def with_kvcache(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    k: Optional[Tensor] = None,
    v: Optional[Tensor] = None,
    *,
    cache_seqlens: Union[None, int, Integers] = None,
    cache_batch_idx: Optional[Integers] = None,
    page_table: Optional[Integers] = None,
    rotary_cos: Optional[Tensor] = None,
    rotary_sin: Optional[Tensor] = None,
    rotary_interleaved: bool = True,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: Window = (-1, -1),
    softcap: float = 0.0,
    sink_size: int = 0,
    alibi_slopes: Optional[Tensor] = None,
    sink_logits: Optional[Tensor] = None,
    out: Optional[Tensor] = None,
    return_lse: bool = False,
    layout: str = "bshd",
    numerics: str = "fast",
) -> Any:
    """Appends k and v to a cache and attends to all of it, in one call.

    Of the arguments that attention() has, those here mean the same. The call is
    checked wholly before the cache is written.

    q: [batch, seqlen_q, heads, head_dim].
    k_cache, v_cache: [batch, capacity, kv_heads, head_dim], written where k and
        v are given; with page_table pools [num_pages, page_size, kv_heads,
        head_dim]; with cache_batch_idx [caches, capacity, ...]. Either may be
        Quantized, whose new rows are quantised as by quantize_kv().
    k, v: the new rows, [batch, tokens, kv_heads, head_dim], which go to the
        positions cache_seqlens[b] + i.
    cache_seqlens: int32 [batch] or an int: keys before the new ones. It is not
        changed. None is the whole capacity, where nothing is appended.
    cache_batch_idx: int32 [batch], the row of the cache of each sequence.
    page_table: int32 [batch, pages], as in varlen().
    rotary_cos, rotary_sin: float32 [positions, rotary_dim / 2]: turns k, and q
        at the same positions (all its rows at cache_seqlens[b] where there is
        neither a causal mask nor a window). See rope_tables().
    rotary_interleaved: pairs are channels (2i, 2i + 1), else (i, i +
        rotary_dim / 2).
    """
    return _with_kvcache(
        q,
        _lend(k_cache),
        _lend(v_cache),
        k,
        v,
        cache_seqlens,
        cache_batch_idx,
        page_table,
        rotary_cos,
        rotary_sin,
        rotary_interleaved,
        softmax_scale,
        causal,
        window_size,
        softcap,
        sink_size,
        alibi_slopes,
        sink_logits,
        out,
        return_lse,
        layout,
        numerics,
    )


def merge_state(
    out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor, *, layout: str = "bshd"
) -> Tuple[Any, Any]:
    """Returns (out, lse) of two partial results over disjoint sets of keys.

    out_*: float32, as attention() returns them; lse_*: as with return_lse. A
    part with lse -inf counts for nothing.
    """
    return _merge_state(out_a, lse_a, out_b, lse_b, layout)


def rope_tables(
    rotary_dim: int,
    positions: int,
    *,
    theta: float = 10000.0,
    first: int = 0,
    frequencies: Optional[Sequence[float]] = None,
    scaling: Optional[Dict[str, Any]] = None,
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns (cos, sin) for with_kvcache, float32 [positions, rotary_dim / 2].

    Of the positions from `first` on, by angles theta^(-2 i / rotary_dim) a
    position (Su et al. 2021, arXiv:2104.09864), or by `frequencies`, which
    models that stretch their positions change. The same bits on every machine.

    scaling: how a model's positions were stretched, the numbers of
    heed::RopeScaling by name: {"kind": "yarn", "factor": 4,
    "original_positions": 2048}. Kinds are linear, ntk, yarn and llama3; tables
    are multiplied by yarn's attention factor. Not together with frequencies.
    """
    if scaling is not None:
        if frequencies is not None:
            raise ValueError("scaling: not together with frequencies")
        return _scaled_rope_tables(theta, rotary_dim, scaling, positions, first)
    if frequencies is None:
        frequencies = _rope_frequencies(theta, rotary_dim)
    elif 2 * len(frequencies) != rotary_dim:
        raise ValueError(
            f"frequencies: needs {rotary_dim} / 2 numbers, got {len(frequencies)}"
        )
    return _rope_tables([float(f) for f in frequencies], positions, first)


def explain(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: Window = (-1, -1),
    softcap: float = 0.0,
    sink_size: int = 0,
    causal_offset: Optional[int] = None,
    bias: Optional[Tensor] = None,
    mask: Optional[Tensor] = None,
    alibi_slopes: Optional[Tensor] = None,
    sink_logits: Optional[Tensor] = None,
    cu_seqlens_q: Optional[Integers] = None,
    cu_seqlens_k: Optional[Integers] = None,
    seqlens_k: Optional[Integers] = None,
    page_table: Optional[Integers] = None,
    layout: str = "bshd",
    numerics: str = "fast",
) -> str:
    """Returns how a call with these arguments is computed, and why, as text.

    Which kernel, which blocks and tiles. The arguments are those of attention()
    and varlen(); nothing is computed.
    """
    return _explain(
        q,
        _lend(k),
        _lend(v),
        softmax_scale,
        causal,
        window_size,
        softcap,
        sink_size,
        causal_offset,
        bias,
        mask,
        alibi_slopes,
        sink_logits,
        cu_seqlens_q,
        cu_seqlens_k,
        seqlens_k,
        page_table,
        layout,
        numerics,
    )
