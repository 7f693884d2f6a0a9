# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Keys and values of 8 and 4 bits against the numbers that they stand for."""

import ml_dtypes
import numpy as np
import pytest

import heed

DTYPES = ["int8", "float8_e4m3", "float8_e5m2", "uint4"]


def widened(rows):
    """float32, by numpy."""
    if rows.dtype == "uint4":
        numbers = np.stack([rows.codes & 15, rows.codes >> 4], -1)
        groups = rows.scale.shape[-1]
        numbers = numbers.reshape(*rows.codes.shape[:-1], groups, -1)
        scale, minimum = (x[..., None].astype("f8") for x in (rows.scale, rows.minimum))
        wide = (numbers * scale + minimum).astype(np.float32)
        return wide.reshape(*rows.codes.shape[:-1], -1)
    kind = {
        "int8": np.int8,
        "float8_e4m3": ml_dtypes.float8_e4m3fn,
        "float8_e5m2": ml_dtypes.float8_e5m2,
    }
    return rows.codes.view(kind[rows.dtype]).astype(np.float32) * rows.scale


@pytest.mark.parametrize("layout", ["bshd", "bhsd", "thd"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_has_the_bits_of_the_numbers(qkv, dtype, layout):
    q, k, v = qkv(d=64, rows=5, keys=70)
    if layout == "thd":
        q, k, v = q[0], k[0], v[0]
    if layout == "bhsd":
        q, k, v = (np.ascontiguousarray(x.transpose(0, 2, 1, 3)) for x in (q, k, v))
    rows = [heed.quantize_kv(x, dtype, layout=layout) for x in (k, v)]
    given = {"causal": True, "layout": layout, "return_lse": True}
    got = heed.attention(q, *rows, **given)
    want = heed.attention(q, *map(widened, rows), **given)
    for a, b in zip(got, want):
        np.testing.assert_array_equal(a, b)
    exact = heed.attention(q, k, v, **given)[0]
    assert 1e-4 < np.abs(got[0] - exact).max() < 0.3


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_lost(rng, dtype):
    x = rng.standard_normal((2, 9, 2, 64), np.float32)
    rows = heed.quantize_kv(x, dtype)
    if dtype.startswith("float8"):
        most = np.abs(x) * 2.0 ** (-4 if "e4m3" in dtype else -3) + rows.scale * 2.0**-9
    else:
        most = rows.scale / 2 * (1 + 1e-5)
        most = np.repeat(most, 64 // most.shape[-1], -1)
    assert (np.abs(widened(rows) - x) <= most).all()
    assert (rows.minimum is None) == (dtype != "uint4")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rotation_spreads_outliers(qkv, dtype):
    q, k, v = qkv(d=64, rows=4, keys=40)
    k[..., 3] *= 30
    exact = heed.attention(q, k, v)

    def off(rotate):
        rows = [heed.quantize_kv(x, dtype, rotate=rotate) for x in (k, v)]
        return np.abs(heed.attention(q, *rows) - exact).mean()

    # 8-bit floats have a range for outliers as it is.
    assert off(True) < (0.2 if dtype.startswith("float8") else 0.9 * off(False))


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cache_that_grows(rng, dtype, paged):
    k, v = (rng.standard_normal((2, 12, 2, 64), np.float32) for _ in range(2))
    q = rng.standard_normal((2, 12, 4, 64), np.float32)
    table = np.array([[3, 0, 5], [1, 4, 2]], np.int32) if paged else None
    shape = (6, 4, 2, 64) if paged else (2, 16, 2, 64)
    caches = [heed.Quantized.zeros(shape, dtype) for _ in range(2)]
    at_once = [heed.quantize_kv(x, dtype) for x in (k, v)]
    begin = 0
    for end in (5, 6, 12):
        out = heed.with_kvcache(
            q[:, begin:end],
            *caches,
            k[:, begin:end],
            v[:, begin:end],
            cache_seqlens=begin,
            page_table=table,
            causal=True,
        )
        want = heed.attention(q[:, begin:end], *map(cut(end), at_once), causal=True)
        np.testing.assert_array_equal(out, want)
        begin = end
    if paged:
        again = heed.varlen(
            q.reshape(24, 4, 64),
            *caches,
            cu_seqlens_q=[0, 12, 24],
            seqlens_k=[12, 12],
            page_table=table,
            causal=True,
        )
        want = heed.attention(q, *at_once, causal=True)
        np.testing.assert_array_equal(again.reshape(want.shape), want)
    else:
        np.testing.assert_array_equal(caches[0].codes[:, :12], at_once[0].codes)
        np.testing.assert_array_equal(caches[1].scale[:, :12], at_once[1].scale)
        assert not caches[0].codes[:, 12:].any()


def cut(end):
    def cut_rows(rows):
        parts = (
            None if x is None else x[:, :end]
            for x in (rows.codes, rows.scale, rows.minimum)
        )
        return heed.Quantized(*parts, rows.dtype, rows.rotated)

    return cut_rows


def test_torch_tensors(qkv):
    torch = pytest.importorskip("torch")
    q, k, v = qkv(d=64)
    want = heed.attention(q, *(heed.quantize_kv(x, "uint4") for x in (k, v)))
    q, k, v = map(torch.from_numpy, (q, k, v))
    rows = [heed.quantize_kv(x, "uint4") for x in (k, v)]
    assert rows[0].codes.dtype == torch.uint8
    np.testing.assert_array_equal(heed.attention(q, *rows).numpy(), want)


def test_what_is_refused(qkv):
    q, k, v = qkv(d=64)
    good = heed.quantize_kv(k)
    four = heed.quantize_kv(k, "uint4")

    def changed(rows, **parts):
        return heed.Quantized(**{**rows.__dict__, **parts})

    wrong = [
        (TypeError, "k: needs a tensor, got tuple", (good.codes, good.scale)),
        (TypeError, "codes need 8 bits", changed(good, codes=k)),
        (TypeError, "k: needs a tensor", changed(good, codes=None)),
        (ValueError, "'int4' is not offered", changed(good, dtype="int4")),
        (TypeError, "dtype: needs a string", changed(good, dtype=8)),
        (ValueError, "scale", changed(good, scale=good.scale[:, :-1])),
        (ValueError, "minimum", changed(good, minimum=good.scale)),
        (ValueError, "minimum", changed(four, minimum=None)),
        (ValueError, "scale", changed(four, scale=None)),
        (ValueError, "k.scale: needs 4 axes", changed(good, scale=good.scale[0])),
        (TypeError, "k.scale", changed(good, scale=good.scale.astype("f8"))),
    ]
    for kind, words, rows in wrong:
        with pytest.raises(kind, match=words):
            heed.attention(q, rows, v)
    with pytest.raises(ValueError, match="multiple of 32"):
        heed.quantize_kv(k[..., :24], "uint4")
    with pytest.raises(ValueError, match="not offered"):
        heed.quantize_kv(k, "uint2")
    with pytest.raises(TypeError, match="x: int32"):
        heed.quantize_kv(k.astype(np.int32))
    frozen = changed(good, codes=good.codes.copy())
    frozen.codes.flags.writeable = False
    with pytest.raises(ValueError, match="k_cache: is read-only"):
        heed.with_kvcache(q, frozen, good, k, v, cache_seqlens=0)
