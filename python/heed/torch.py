# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed for PyTorch: an operator with gradients, and scaled_dot_product_attention.

    import heed.torch
    out = heed.torch.attention(q, k, v, causal=True)      # [b, s, h, d], as heed's
    with heed.torch.replace_sdpa():                       # any model, unchanged
        model(tokens)

The operator torch.ops.heed.attention has fake and autograd registrations, so
that torch.compile(fullgraph=True) and training work. Backward is PyTorch's own
flash backward, from heed's out and lse. Threads are those of torch's OpenMP.
"""

import contextlib
import math
from typing import Optional, Tuple

import torch
from torch import Tensor

from heed import _heed
from heed._quantized import Quantized

__all__ = ["attention", "replace_sdpa", "scaled_dot_product_attention"]

_INT64_MIN = -(2**63)  # stands for None


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
        None if offset == _INT64_MIN else offset,
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


def _setup_context(ctx, inputs, output):
    q, k, v, bias, mask, alibi_slopes, sink_logits, *ctx.rest = inputs
    out, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(
        q, k, v, bias, mask, alibi_slopes, sink_logits, out.detach(), lse.detach()
    )


def _hidden(ctx, rows, keys, device):
    """What the rule hides: bool [rows, keys], or None."""
    _, causal, left, right, _, sink_size, offset, *_ = ctx.rest
    offset = keys - rows if offset == _INT64_MIN else offset
    if not causal and left < 0 and right < 0:
        return None
    at = torch.arange(rows, device=device)[:, None] + offset
    j = torch.arange(keys, device=device)[None, :]
    hidden = torch.zeros((rows, keys), dtype=torch.bool, device=device)
    if left >= 0:
        hidden |= j < at - left
    if right >= 0:
        hidden |= j > at + right
    hidden &= j >= sink_size
    return hidden | (j > at) if causal else hidden


def _of_heads(numbers, heads):
    """[1 or batch, heads], of what broadcasts to it."""
    return numbers.reshape((1,) * (2 - numbers.dim()) + numbers.shape).expand(-1, heads)


def _added(ctx, q, keys, bias, mask, slopes):
    """All masks and biases as one tensor that is added to scores, or None."""
    batch, heads, rows = q.shape[:3]
    added = None
    if bias is not None:
        added = bias.float().reshape((1,) * (4 - bias.dim()) + bias.shape)
    if slopes is not None:
        offset = ctx.rest[6]
        offset = keys - rows if offset == _INT64_MIN else offset
        at = torch.arange(rows)[:, None] + offset
        distance = (at - torch.arange(keys)).abs().float()
        slope = _of_heads(slopes, heads)[:, :, None, None] * distance
        added = -slope if added is None else added - slope
    hidden = _hidden(ctx, rows, keys, q.device)
    if mask is not None:
        unseen = ~mask.reshape((1,) * (4 - mask.dim()) + mask.shape)
        hidden = unseen if hidden is None else unseen | hidden
    if hidden is not None:
        if added is None:
            added = torch.zeros((), device=q.device)
        added = torch.where(hidden, -math.inf, added)
    if added is None:
        return None
    added = added.reshape((1,) * (4 - added.dim()) + added.shape)
    return added.expand(added.shape[0], added.shape[1], rows, keys).contiguous()


def _backward(ctx, grad_out, _grad_lse):
    q, k, v, bias, mask, slopes, sinks, out, lse = ctx.saved_tensors
    scale, causal, left, right, softcap, _, offset, layout, _ = ctx.rest
    for name, tensor in (("bias", bias), ("alibi_slopes", slopes)):
        if tensor is not None and tensor.requires_grad:
            raise ValueError(f"{name}: has no gradient here; detach() it")
    if softcap:
        raise ValueError("softcap: has no gradient here")
    if q.shape[-1] != v.shape[-1]:
        raise ValueError("head_dim of v: has no gradient here unless it is q's")

    def as_bhsd(x):
        if layout == "thd":
            return x.transpose(0, 1)[None]
        return x.transpose(1, 2) if layout == "bshd" else x

    def as_given(x):
        if layout == "thd":
            return x[0].transpose(0, 1)
        return x.transpose(1, 2) if layout == "bshd" else x

    q, k, v, out, grad_out = (as_bhsd(x) for x in (q, k, v, out, grad_out))
    lse = lse[None] if layout == "thd" else lse
    group = q.shape[1] // k.shape[1]
    rows, keys = q.shape[2], k.shape[2]
    square = causal and rows == keys and offset in (0, _INT64_MIN)
    plain = left < 0 and right < 0 and bias is None and mask is None
    if square and plain and slopes is None:
        added = None
    else:
        square, added = False, _added(ctx, q, keys, bias, mask, slopes)
    # A row that sees nothing has weights exp(-inf - lse): none, not NaN.
    whole_lse = torch.where(lse == -math.inf, math.inf, lse)
    grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad_out.contiguous(),
        q,
        k.repeat_interleave(group, 1) if group > 1 else k,
        v.repeat_interleave(group, 1) if group > 1 else v,
        out,
        whole_lse,
        0.0,
        square,
        attn_mask=added,
        scale=scale if scale else q.shape[-1] ** -0.5,
    )
    grad_q, grad_k, grad_v = grads
    if group > 1:
        of_groups = (k.shape[0], k.shape[1], group, keys, k.shape[3])
        grad_k = grad_k.reshape(of_groups).sum(2)
        grad_v = grad_v.reshape(of_groups).sum(2)
    grad_sinks = None
    if sinks is not None and sinks.requires_grad:
        # The sink's value is 0: its weight times what out's gradient sees.
        seen = (grad_out.float() * out.float()).sum(-1)
        weight = torch.exp(_of_heads(sinks, q.shape[1])[:, :, None] - lse)
        grad_sinks = -(weight * seen).sum(-1)
        grad_sinks = grad_sinks.sum_to_size(sinks.shape).to(sinks.dtype)
    grads = [as_given(g) for g in (grad_q, grad_k, grad_v)]
    return (*grads, None, None, None, grad_sinks, *[None] * 9)


_attention.register_autograd(_backward, setup_context=_setup_context)


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
        _INT64_MIN if causal_offset is None else causal_offset,
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


def _rows_in_place(x):
    return x if x.stride(-1) == 1 or x.shape[-1] <= 1 else x.contiguous()


def scaled_dot_product_attention(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    scale=None,
    enable_gqa=False,
):
    """torch.nn.functional.scaled_dot_product_attention, by heed.

    query: [..., heads, L, E]; key and value [..., heads, S, E]. attn_mask is
    bool (True is seen) or added; is_causal is aligned to the top left, as
    PyTorch's. Rows that see nothing give 0. Raises ValueError for dropout, and
    what heed.torch.attention refuses.
    """
    if dropout_p:
        raise ValueError(f"dropout_p: is not served, got {dropout_p}")
    if is_causal and attn_mask is not None:
        raise ValueError("attn_mask: not together with is_causal")
    if scale == 0:  # which stands for the default elsewhere
        raise ValueError("scale: 0 is not served")
    if query.dim() < 3:
        query, key, value = (x[None] for x in (query, key, value))
        out = scaled_dot_product_attention(
            query, key, value, attn_mask, 0.0, is_causal, scale, enable_gqa
        )
        return out[0]
    heads, kv_heads = query.shape[-3], key.shape[-3]
    if not enable_gqa and heads != kv_heads and 1 not in (heads, kv_heads):
        raise ValueError(f"key: has {kv_heads} heads, query {heads}: needs enable_gqa")
    lead = torch.broadcast_shapes(query.shape[:-3], key.shape[:-3], value.shape[:-3])
    if heads == 1 and kv_heads > 1:
        query = query.expand(*query.shape[:-3], kv_heads, *query.shape[-2:])
    if value.shape[-3] == 1 and kv_heads > 1:
        value = value.expand(*value.shape[:-3], kv_heads, *value.shape[-2:])

    def four(x):
        x = x.expand(*lead, *x.shape[-3:])
        if len(lead) != 1:
            x = x.reshape(-1, *x.shape[-3:])
        return _rows_in_place(x)

    given = {}
    if attn_mask is not None:
        if attn_mask.dim() > 3 and len(lead) != 1:
            attn_mask = attn_mask.expand(*lead, *attn_mask.shape[-3:])
            attn_mask = attn_mask.reshape(-1, *attn_mask.shape[-3:])
        attn_mask = _rows_in_place(attn_mask)
        given = {"mask" if attn_mask.dtype == torch.bool else "bias": attn_mask}
    out = attention(
        four(query),
        four(key),
        four(value),
        softmax_scale=scale,
        causal=is_causal,
        causal_offset=0 if is_causal else None,
        layout="bhsd",
        **given,
    )
    return out.reshape(*lead, *out.shape[-3:]) if len(lead) != 1 else out


class Replacement:
    """What replace_sdpa() gives: how many calls heed served, and passed on."""

    def __init__(self):
        self.served = 0
        self.passed_on = 0


def _needs_torch(query, key, value, attn_mask, dropout_p, scale):
    if query.shape[-1] != value.shape[-1] and torch.is_grad_enabled():
        if query.requires_grad or key.requires_grad or value.requires_grad:
            return True
    return (
        dropout_p
        or scale == 0
        or query.device.type != "cpu"
        or query.dtype not in (torch.float32, torch.bfloat16, torch.float16)
        or query.is_nested
        or (attn_mask is not None and attn_mask.requires_grad)
    )


@contextlib.contextmanager
def replace_sdpa(strict=False):
    """Puts heed under every torch.nn.functional.scaled_dot_product_attention.

    Calls that heed does not serve (dropout, other devices, float64, nested
    tensors, a scale of 0, masks that need gradients, gradients where head_dim_v
    is not head_dim) go to PyTorch; with strict they raise.
    Whoever imported the function by its own name before keeps PyTorch's. The
    process has one such function: not for several threads with different ones.
    """
    before = torch.nn.functional.scaled_dot_product_attention
    counts = Replacement()

    def replaced(
        query,
        key,
        value,
        attn_mask=None,
        dropout_p=0.0,
        is_causal=False,
        scale=None,
        enable_gqa=False,
    ):
        if not strict and _needs_torch(
            query, key, value, attn_mask, dropout_p, scale
        ):
            counts.passed_on += 1
            return before(
                query,
                key,
                value,
                attn_mask,
                dropout_p,
                is_causal,
                scale=scale,
                enable_gqa=enable_gqa,
            )
        counts.served += 1
        return scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
        )

    torch.nn.functional.scaled_dot_product_attention = replaced
    try:
        yield counts
    finally:
        torch.nn.functional.scaled_dot_product_attention = before
