# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""torch.nn.functional.scaled_dot_product_attention by heed, and put in its place."""

import contextlib

import torch

from heed._torch_attention import attention


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
