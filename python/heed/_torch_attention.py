# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed.attention() of torch tensors, by torch's operators."""

import torch
from torch import Tensor

from heed import _torch_ops  # noqa: F401  registers torch.ops.heed
from heed._quantized import Quantized
from heed._torch_backward import NO_OFFSET


def _parts_of(name, rows):
    """Of keys or values, the operator's five; the dtype of a tensor is ""."""
    if not isinstance(rows, Quantized):
        return rows, None, None, "", False
    for part in rows.parts()[:3]:
        if part is not None and not isinstance(part, Tensor):
            raise TypeError(
                f"{name}: needs torch tensors as parts, got {type(part).__name__}"
            )
    return rows.parts()


def _refuse_gradients(**tensors):
    for name, x in tensors.items():
        if x is not None and x.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{name}: has no gradient where keys or values are Quantized; "
                "detach() it"
            )


def attention(
    q,
    k,
    v,
    *,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    sink_size=0,
    causal_offset=None,
    bias=None,
    mask=None,
    alibi_slopes=None,
    sink_logits=None,
    return_lse=False,
    layout="bshd",
    numerics="fast",
):
    """heed.attention() of torch tensors on the CPU, with gradients.

    Arguments and results are those of heed.attention(); there is no `out`. q, k,
    v and sink_logits get gradients, under every mask; a softcap, head_dim_v
    other than head_dim, and bias or alibi_slopes that need gradients raise
    ValueError in backward. lse is not differentiable. Backward needs memory for
    a mask where there is more of it than a square causal one.

    k and v may be heed.Quantized, of torch tensors, which are read as they are.
    Such a call has no gradients: raises ValueError where a tensor asks for one.
    """
    left, right = window_size
    scores = (bias, mask, alibi_slopes, sink_logits)
    rule = (
        0.0 if softmax_scale is None else float(softmax_scale),
        causal,
        left,
        right,
        float(softcap),
        sink_size,
        NO_OFFSET if causal_offset is None else causal_offset,
        layout,
        numerics,
    )
    if isinstance(k, Quantized) or isinstance(v, Quantized):
        parts = (*_parts_of("k", k), *_parts_of("v", v))
        names = ("bias", "mask", "alibi_slopes", "sink_logits")
        _refuse_gradients(q=q, k=parts[0], v=parts[5], **dict(zip(names, scores)))
        out, lse = torch.ops.heed.attention_quantized(q, *parts, *scores, *rule)
    else:
        out, lse = torch.ops.heed.attention(q, k, v, *scores, *rule)
    return (out, lse) if return_lse else out
