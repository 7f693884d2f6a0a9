# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The calls of flash-attn under its own signatures.

Arguments that heed does not serve are refused by name where they are set.
deterministic and num_splits say nothing here: results never depend on how work
is split.
"""

from typing import Any, Optional, Union

from heed._attention import attention, varlen, with_kvcache
from heed._types import Integers, Tensor, Window


def _refuse(**arguments):
    for name, value in arguments.items():
        if value:
            raise ValueError(f"{name}: is not served, got {value!r}")


def _dtype(name, tensor):
    try:
        return str(tensor.dtype)
    except AttributeError:
        raise TypeError(
            f"{name}: needs an array or a tensor, got {type(tensor).__name__}"
        ) from None


def _need_one_dtype(**tensors):
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    first = next(iter(tensors))
    for name, tensor in tensors.items():
        if _dtype(name, tensor) != _dtype(first, tensors[first]):
            raise TypeError(
                f"{name}: is {tensor.dtype}, and {first} {tensors[first].dtype}"
            )


def flash_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: Window = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Optional[Tensor] = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    """attention() as flash-attn's flash_attn_func: [batch, seqlen, heads, head_dim].

    With return_attn_probs returns (out, lse, None): lse float32 [batch, heads,
    seqlen_q]; probabilities are never formed. Raises ValueError for dropout.
    """
    _refuse(dropout_p=dropout_p)
    _need_one_dtype(q=q, k=k, v=v)
    result = attention(
        q,
        k,
        v,
        softmax_scale=softmax_scale,
        causal=causal,
        window_size=tuple(window_size),
        softcap=softcap,
        alibi_slopes=alibi_slopes,
        return_lse=return_attn_probs,
    )
    return (*result, None) if return_attn_probs else result


def _check_longest(cu_seqlens, longest, name):
    lengths = [int(n) for n in cu_seqlens]
    most = max((b - a for a, b in zip(lengths, lengths[1:])), default=0)
    if most > longest:
        raise ValueError(f"max_seqlen_{name}: is {longest}, a sequence has {most}")


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Integers,
    cu_seqlens_k: Integers,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: Window = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Optional[Tensor] = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: Optional[Integers] = None,
) -> Any:
    """varlen() as flash-attn's flash_attn_varlen_func: packed [tokens, heads, d].

    With block_table k and v are pools [pages, page_size, kv_heads, head_dim] and
    cu_seqlens_k says the lengths. lse is float32 [heads, tokens].
    """
    _refuse(dropout_p=dropout_p)
    _need_one_dtype(q=q, k=k, v=v)
    _check_longest(cu_seqlens_q, max_seqlen_q, "q")
    _check_longest(cu_seqlens_k, max_seqlen_k, "k")
    keys = {"cu_seqlens_k": cu_seqlens_k}
    if block_table is not None:
        ends = [int(n) for n in cu_seqlens_k]
        keys = {
            "seqlens_k": [b - a for a, b in zip(ends, ends[1:])],
            "page_table": block_table,
        }
    result = varlen(
        q,
        k,
        v,
        cu_seqlens_q=cu_seqlens_q,
        softmax_scale=softmax_scale,
        causal=causal,
        window_size=tuple(window_size),
        softcap=softcap,
        alibi_slopes=alibi_slopes,
        return_lse=return_attn_probs,
        **keys,
    )
    return (*result, None) if return_attn_probs else result


def _as_f32(table):
    if table is None or str(table.dtype) in ("float32", "torch.float32"):
        return table
    return table.float() if hasattr(table, "float") else table.astype("float32")


def flash_attn_with_kvcache(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    k: Optional[Tensor] = None,
    v: Optional[Tensor] = None,
    rotary_cos: Optional[Tensor] = None,
    rotary_sin: Optional[Tensor] = None,
    cache_seqlens: Union[None, int, Integers] = None,
    cache_batch_idx: Optional[Integers] = None,
    cache_leftpad: Optional[Integers] = None,
    block_table: Optional[Integers] = None,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: Window = (-1, -1),
    softcap: float = 0.0,
    rotary_interleaved: bool = True,
    alibi_slopes: Optional[Tensor] = None,
    num_splits: int = 0,
    return_softmax_lse: bool = False,
) -> Any:
    """with_kvcache() as flash-attn's flash_attn_with_kvcache.

    Raises ValueError for cache_leftpad. Tables of RoPE in narrow types are
    widened.
    """
    if cache_leftpad is not None:
        raise ValueError("cache_leftpad: is not served")
    _need_one_dtype(q=q, k_cache=k_cache, v_cache=v_cache, k=k, v=v)
    return with_kvcache(
        q,
        k_cache,
        v_cache,
        k,
        v,
        cache_seqlens=cache_seqlens,
        cache_batch_idx=cache_batch_idx,
        page_table=block_table,
        rotary_cos=_as_f32(rotary_cos),
        rotary_sin=_as_f32(rotary_sin),
        rotary_interleaved=rotary_interleaved,
        softmax_scale=softmax_scale,
        causal=causal,
        window_size=tuple(window_size),
        softcap=softcap,
        alibi_slopes=alibi_slopes,
        return_lse=return_softmax_lse,
    )
