# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Quantised keys and values in heed.torch, against heed.attention's bits.

Skipped where torch is not installed.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import heed  # noqa: E402
import heed.torch  # noqa: E402

LAYOUTS = ["bshd", "bhsd", "thd"]


def arranged(qkv, layout):
    tensors = [torch.from_numpy(x) for x in qkv(d=64, rows=5, keys=70)]
    if layout == "thd":
        return [x[0] for x in tensors]
    return [x.transpose(1, 2) for x in tensors] if layout == "bhsd" else tensors


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtypes", [("int8", "uint4"), ("float8_e4m3", ""), ("", "int8")])
def test_has_the_bits_of_the_plain_door(qkv, layout, dtypes):
    q, *rows = arranged(qkv, layout)
    rows = [
        heed.quantize_kv(x, dtype, layout=layout, rotate=True) if dtype else x
        for x, dtype in zip(rows, dtypes)
    ]
    given = {"causal": True, "window_size": (40, 0), "layout": layout}
    want = heed.attention(q, *rows, return_lse=True, **given)
    got = heed.torch.attention(q, *rows, return_lse=True, **given)
    for a, b in zip(got, want):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_nothing_is_copied(qkv):
    """What is refused only where codes are seen as they stand."""
    q, k, v = arranged(qkv, "bshd")
    rows = [heed.quantize_kv(x) for x in (k, v)]
    want = heed.torch.attention(q, *rows)
    wide = torch.zeros(2, 70, 2, 128, dtype=torch.int8)  # rows of a fused cache
    wide[..., :64], wide[..., 64:] = (x.codes for x in rows)
    parts = [
        heed.Quantized(wide[..., half], x.scale, None, "int8")
        for half, x in zip((slice(0, 64), slice(64, 128)), rows)
    ]
    np.testing.assert_array_equal(heed.torch.attention(q, *parts), want)
    strided = heed.Quantized(wide[..., ::2], rows[0].scale, None, "int8")
    with pytest.raises(ValueError, match="innermost"):
        heed.torch.attention(q, strided, rows[1])


def test_codes_that_torch_calls_float8(qkv):
    q, k, v = arranged(qkv, "bshd")
    for dtype, name in (
        (torch.float8_e4m3fn, "float8_e4m3"),
        (torch.float8_e5m2, "float8_e5m2"),
    ):
        narrow = [heed.Quantized(x.to(dtype), None, None, name) for x in (k, v)]
        got = heed.torch.attention(q, *narrow)
        want = heed.torch.attention(q, *(x.to(dtype).float() for x in (k, v)))
        np.testing.assert_array_equal(got, want)


def test_operator(qkv):
    q, k, v = arranged(qkv, "bshd")
    rows = [heed.quantize_kv(k, "int8"), heed.quantize_kv(v, "uint4")]
    parts = [part for x in rows for part in x.parts()]
    none = [None] * 4
    rule = [0.0, True, -1, -1, 0.0, 0, 65, "bshd", "fast"]
    torch.library.opcheck(
        torch.ops.heed.attention_quantized.default, (q, *parts, *none, *rule)
    )
    compiled = torch.compile(heed.torch.attention, fullgraph=True, backend="eager")
    want = heed.torch.attention(q, *rows, causal=True)
    np.testing.assert_array_equal(compiled(q, *rows, causal=True), want)


def test_what_is_refused(qkv):
    q, k, v = arranged(qkv, "bshd")
    rows = [heed.quantize_kv(x) for x in (k, v)]
    with pytest.raises(ValueError, match="q: has no gradient where keys"):
        heed.torch.attention(q.clone().requires_grad_(), *rows)
    slopes = torch.rand(q.shape[2], requires_grad=True)
    with pytest.raises(ValueError, match="alibi_slopes: has no gradient"):
        heed.torch.attention(q, *rows, alibi_slopes=slopes)
    with torch.no_grad():
        heed.torch.attention(q.clone().requires_grad_(), *rows)
    plain = heed.quantize_kv(k.numpy())
    with pytest.raises(TypeError, match="k: needs torch tensors as parts, got ndarray"):
        heed.torch.attention(q, plain, rows[1])
    with pytest.raises(ValueError, match="'int4' is not offered"):
        heed.torch.attention(q, heed.Quantized(*rows[0].parts()[:3], "int4"), rows[1])
