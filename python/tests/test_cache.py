# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Packed sequences, caches and pages, and flash-attn's names for them."""

import numpy as np
import oracle
import pytest

import heed


@pytest.fixture
def packed(rng):
    """Three sequences: their rows and keys, packed, with their ends."""
    rows, keys = [3, 1, 6], [5, 9, 6]
    q, k, v = (
        rng.standard_normal((sum(n), heads, 16), np.float32)
        for n, heads in ((rows, 4), (keys, 2), (keys, 2))
    )
    return q, k, v, np.cumsum([0, *rows], dtype=np.int32), np.cumsum([0, *keys])


def sequences(q, k, v, cu_q, cu_k):
    for i in range(len(cu_q) - 1):
        rows, keys = slice(cu_q[i], cu_q[i + 1]), slice(cu_k[i], cu_k[i + 1])
        yield rows, q[None, rows], k[None, keys], v[None, keys]


def test_varlen_is_a_call_for_each(packed):
    q, k, v, cu_q, cu_k = packed
    out, lse = heed.varlen(
        q, k, v, cu_seqlens_q=cu_q, cu_seqlens_k=cu_k, causal=True, return_lse=True
    )
    flash = heed.flash_attn_varlen_func(
        q, k, v, cu_q, cu_k, 6, 9, causal=True, return_attn_probs=True
    )
    assert (flash[0] == out).all() and (flash[1] == lse).all() and flash[2] is None
    for rows, *one in sequences(*packed):
        right, right_lse = heed.attention(*one, causal=True, return_lse=True)
        assert (out[rows] == right[0]).all() and (lse[:, rows] == right_lse[0]).all()
        truth = oracle.attention(*one, causal=True)[0]
        np.testing.assert_allclose(right, truth, atol=4e-6)


def test_pages_are_a_call_for_each(packed, rng):
    q, k, v, cu_q, cu_k = packed
    table = np.array([[3, 0, -1], [5, 2, 4], [1, 6, -1]], np.int32)
    pools = [np.full((7, 4, 2, 16), np.nan, np.float32) for _ in range(2)]
    lengths = np.diff(cu_k)
    for s, begin in enumerate(cu_k[:-1]):
        for p in range(lengths[s]):
            for pool, rows in zip(pools, (k, v)):
                pool[table[s, p // 4], p % 4] = rows[begin + p]
    right = heed.varlen(q, k, v, cu_seqlens_q=cu_q, cu_seqlens_k=cu_k, causal=True)
    out = heed.varlen(
        q,
        *pools,
        cu_seqlens_q=cu_q,
        seqlens_k=lengths,
        page_table=table,
        causal=True,
    )
    flash = heed.flash_attn_varlen_func(
        q, *pools, cu_q, cu_k, 6, 9, causal=True, block_table=table
    )
    assert (out == right).all() and (flash == right).all()


def turn(x, cos, sin, positions, interleaved):
    """RoPE of [b, s, h, d] at positions [b, s], in double."""
    cos, sin = (t.astype(np.float64)[positions][:, :, None] for t in (cos, sin))
    y, pairs = x.astype(np.float64), cos.shape[3]
    channels = np.arange(2 * pairs)
    a = channels[::2] if interleaved else channels[:pairs]
    b = channels[1::2] if interleaved else channels[pairs:]
    y[..., a], y[..., b] = (
        x[..., a] * cos - x[..., b] * sin,
        x[..., b] * cos + x[..., a] * sin,
    )
    return y


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("paged", [False, True])
def test_with_kvcache(qkv, rng, interleaved, causal, paged):
    q, k, v = qkv(rows=3, keys=3)
    past = np.array([5, 2], np.int32)
    cache = [rng.standard_normal((2, 12, 2, 16), np.float32) for _ in range(2)]
    cos, sin = heed.rope_tables(8, 40)
    angle = np.arange(40)[:, None] * 10000.0 ** (-np.arange(4) / 4)
    np.testing.assert_allclose(cos, np.cos(angle), atol=1e-6)

    positions = past[:, None] + np.arange(3)
    at = positions if causal else np.broadcast_to(past[:, None], positions.shape)
    wide = [c.astype(np.float64) for c in cache]
    for b in range(2):
        new = slice(past[b], past[b] + 3)
        wide[0][b, new] = turn(k, cos, sin, positions, interleaved)[b]
        wide[1][b, new] = v[b]
    turned = turn(q, cos, sin, at, interleaved)
    truth = [
        oracle.attention(
            turned[b : b + 1],
            *(w[b : b + 1, : past[b] + 3] for w in wide),
            causal=causal,
        )[0]
        for b in range(2)
    ]

    pools, where = cache, {}
    if paged:
        table = np.array([[4, 1, 0], [2, 5, 3]], np.int32)
        pools = [np.zeros((6, 4, 2, 16), np.float32) for _ in range(2)]
        for pool, c in zip(pools, cache):
            pool[table] = c.reshape(2, 3, 4, 2, 16)
        where = {"page_table": table}
    before = [pool.copy() for pool in pools]
    out = heed.with_kvcache(
        q,
        *pools,
        k,
        v,
        cache_seqlens=past,
        rotary_cos=cos,
        rotary_sin=sin,
        rotary_interleaved=interleaved,
        causal=causal,
        **where,
    )
    np.testing.assert_allclose(out, np.concatenate(truth), atol=4e-6)
    after = [
        p[where["page_table"]].reshape(2, 12, 2, 16) if paged else p for p in pools
    ]
    for got, want in zip(after, wide):
        np.testing.assert_allclose(got, want, atol=1e-6)
    assert (past == [5, 2]).all()

    # The same again from the start by flash-attn's name.
    if paged:
        where = {"block_table": where["page_table"]}
    flash = heed.flash_attn_with_kvcache(
        q,
        *before,
        k,
        v,
        rotary_cos=cos.astype(np.float64),
        rotary_sin=sin.astype(np.float64),
        cache_seqlens=past,
        rotary_interleaved=interleaved,
        causal=causal,
        return_softmax_lse=True,
        **where,
    )
    assert (flash[0] == out).all() and flash[1].shape == (2, 4, 3)


def test_rows_of_a_cache(qkv, rng):
    q, k, v = qkv(rows=1, keys=1)
    cache = [rng.standard_normal((4, 8, 2, 16), np.float32) for _ in range(2)]
    right = [c.copy() for c in cache]
    picked = [right[0][[3, 1]], right[1][[3, 1]]]
    want = heed.with_kvcache(q, *picked, k, v, cache_seqlens=6)
    out = heed.with_kvcache(
        q, *cache, k, v, cache_seqlens=np.int64(6), cache_batch_idx=[3, 1]
    )
    assert (out == want).all()
    for c, p, r in zip(cache, picked, right):
        assert (c[[3, 1]] == p).all() and (c[[0, 2]] == r[[0, 2]]).all()


def test_token_by_token_is_a_prompt(qkv):
    q, k, v = qkv(rows=20, keys=20)
    right = heed.attention(q, k, v, causal=True)
    cache = [np.full((2, 32, 2, 16), np.nan, np.float32) for _ in range(2)]
    for begin, end in ((0, 7), (7, 8), (8, 20)):
        out = heed.with_kvcache(
            q[:, begin:end],
            *cache,
            k[:, begin:end],
            v[:, begin:end],
            cache_seqlens=begin,
            causal=True,
        )
        assert (out == right[:, begin:end]).all()
