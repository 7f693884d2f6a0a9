# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""torch.ops.heed: attention as operators of PyTorch, on the CPU.

Fake registrations tell torch.compile the results' shapes without running them; the
gradients are those of _torch_backward.
"""

from typing import Optional, Tuple

import torch
from torch import Tensor

from heed import _heed
from heed._torch_backward import NO_OFFSET, backward, setup_context


def bare(tensor):
    """Without its gradient, which is the business of what calls this."""
    return tensor.detach() if tensor is not None and tensor.requires_grad else tensor


def _attend(q, k, v, bias, mask, alibi_slopes, sink_logits, *rest):
    scale, causal, left, right, softcap, sink_size, offset, layout, numerics = rest
    return _heed.attend(
        bare(q),
        k,
        v,
        scale,
        causal,
        (left, right),
        softcap,
        sink_size,
        None if offset == NO_OFFSET else offset,
        bare(bias),
        bare(mask),
        bare(alibi_slopes),
        bare(sink_logits),
        None,
        None,
        None,
        None,
        None,
        True,
        layout,
        numerics,
    )


def _results(q, head_dim_v, layout):
    out = q.new_empty((*q.shape[:-1], head_dim_v))
    if layout == "thd":
        rows = (q.shape[1], q.shape[0])
    elif layout == "bshd":
        rows = (q.shape[0], q.shape[2], q.shape[1])
    else:
        rows = q.shape[:-1]
    return out, q.new_empty(rows, dtype=torch.float32)


@torch.library.custom_op("heed::attention", mutates_args=(), device_types="cpu")
def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Optional[Tensor],
    mask: Optional[Tensor],
    alibi_slopes: Optional[Tensor],
    sink_logits: Optional[Tensor],
    softmax_scale: float,
    causal: bool,
    window_left: int,
    window_right: int,
    softcap: float,
    sink_size: int,
    causal_offset: int,
    layout: str,
    numerics: str,
) -> Tuple[Tensor, Tensor]:
    return _attend(
        q,
        bare(k),
        bare(v),
        bias,
        mask,
        alibi_slopes,
        sink_logits,
        softmax_scale,
        causal,
        window_left,
        window_right,
        softcap,
        sink_size,
        causal_offset,
        layout,
        numerics,
    )


@_attention.register_fake
def _(q, k, v, bias, mask, alibi_slopes, sink_logits, *rest):
    return _results(q, v.shape[-1], rest[-2])


@torch.library.custom_op(
    "heed::attention_quantized", mutates_args=(), device_types="cpu"
)
def _attention_quantized(
    q: Tensor,
    k: Tensor,
    k_scale: Optional[Tensor],
    k_minimum: Optional[Tensor],
    k_dtype: str,
    k_rotated: bool,
    v: Tensor,
    v_scale: Optional[Tensor],
    v_minimum: Optional[Tensor],
    v_dtype: str,
    v_rotated: bool,
    bias: Optional[Tensor],
    mask: Optional[Tensor],
    alibi_slopes: Optional[Tensor],
    sink_logits: Optional[Tensor],
    softmax_scale: float,
    causal: bool,
    window_left: int,
    window_right: int,
    softcap: float,
    sink_size: int,
    causal_offset: int,
    layout: str,
    numerics: str,
) -> Tuple[Tensor, Tensor]:
    return _attend(
        q,
        (k, k_scale, k_minimum, k_dtype, k_rotated) if k_dtype else bare(k),
        (v, v_scale, v_minimum, v_dtype, v_rotated) if v_dtype else bare(v),
        bias,
        mask,
        alibi_slopes,
        sink_logits,
        softmax_scale,
        causal,
        window_left,
        window_right,
        softcap,
        sink_size,
        causal_offset,
        layout,
        numerics,
    )


@_attention_quantized.register_fake
def _(q, k, k_scale, k_minimum, k_dtype, k_rotated, v, v_scale, v_minimum, v_dtype, *rest):
    halves = 2 if v_dtype == "uint4" else 1
    return _results(q, halves * v.shape[-1], rest[-2])


_attention.register_autograd(backward, setup_context=setup_context)
