# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Gradients of torch.ops.heed.attention: flash backward of PyTorch, of heed's results."""

import math

import torch

NO_OFFSET = -(2**63)  # an operator's causal_offset for None


def setup_context(ctx, inputs, output):
    q, k, v, bias, mask, alibi_slopes, sink_logits, *ctx.rest = inputs
    out, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(
        q, k, v, bias, mask, alibi_slopes, sink_logits, out.detach(), lse.detach()
    )


def _hidden(ctx, rows, keys, device):
    """What the rule hides: bool [rows, keys], or None."""
    _, causal, left, right, _, sink_size, offset, *_ = ctx.rest
    offset = keys - rows if offset == NO_OFFSET else offset
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
        offset = keys - rows if offset == NO_OFFSET else offset
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


def backward(ctx, grad_out, _grad_lse):
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
    square = causal and rows == keys and offset in (0, NO_OFFSET)
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
