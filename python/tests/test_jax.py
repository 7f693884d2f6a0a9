# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed.jax against heed.attention and against jax's own softmax and gradients.

Skipped where jax is not installed; what goes by XLA's foreign function interface,
where the package was built without its headers.
"""

import functools

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

import heed  # noqa: E402
import heed.jax  # noqa: E402

LAYOUTS = ["bshd", "bhsd", "thd"]


@pytest.fixture(params=["ffi", "callback"])
def way(request, monkeypatch):
    """How XLA comes to heed. Jitted functions must be of the test's own."""
    if request.param == "callback":
        monkeypatch.setattr(heed.jax, "by_ffi", lambda: False)
    elif not heed.jax.by_ffi():
        pytest.skip("the package was built without XLA's headers")
    return request.param


def arranged(qkv, layout, **more):
    q, k, v = qkv(**more)
    if layout == "thd":
        return q[0], k[0], v[0]
    if layout == "bhsd":
        return tuple(np.ascontiguousarray(x.transpose(0, 2, 1, 3)) for x in (q, k, v))
    return q, k, v


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_has_the_bits_of_the_numpy_door(qkv, way, layout, dtype):
    arrays = [jnp.asarray(x, dtype) for x in arranged(qkv, layout, dv=24)]
    given = {"causal": True, "window_size": (6, 0), "sink_size": 1, "layout": layout}
    want = heed.attention(*map(np.asarray, arrays), return_lse=True, **given)
    call = functools.partial(heed.jax.attention, return_lse=True, **given)
    for got in (call(*arrays), jax.jit(call)(*arrays)):
        for a, b in zip(got, want):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def softmax_attention(q, k, v, seen, added=0.0, sinks=None):
    """By jax.nn.softmax; [b, s, h, d]."""
    group = q.shape[2] // k.shape[2]
    k, v = (jnp.repeat(x, group, 2) for x in (k, v))
    high = jax.lax.Precision.HIGHEST
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, precision=high) * q.shape[-1] ** -0.5
    scores = jnp.where(seen, scores + added, -jnp.inf)
    if sinks is not None:
        column = jnp.broadcast_to(sinks[:, None, None], (*scores.shape[:3], 1))
        scores = jnp.concatenate([scores, column], -1)
    weights = jax.nn.softmax(scores, -1)[..., : k.shape[1]]
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v, precision=high)


def compare_gradients(mine, theirs, arrays, atol=2e-5):
    weight = jnp.asarray(
        np.random.default_rng(3).standard_normal(theirs(*arrays).shape, np.float32)
    )
    names = tuple(range(len(arrays)))
    got, want = (
        jax.jit(jax.value_and_grad(lambda *a: (f(*a) * weight).sum(), names))(*arrays)
        for f in (mine, theirs)
    )
    np.testing.assert_allclose(got[0], want[0], rtol=1e-4)
    for a, b in zip(got[1], want[1]):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients(qkv, causal):
    arrays = list(map(jnp.asarray, qkv()))
    seen = jnp.ones((9, 13), bool)
    seen = jnp.tril(seen, 4) if causal else seen
    compare_gradients(
        functools.partial(heed.jax.attention, causal=causal),
        lambda q, k, v: softmax_attention(q, k, v, seen),
        arrays,
    )


def test_gradients_of_biases_slopes_and_sinks(qkv, rng):
    arrays = list(map(jnp.asarray, qkv()))
    bias = jnp.asarray(rng.standard_normal((4, 9, 13), np.float32))
    slopes = jnp.asarray(rng.random(4, np.float32))
    sinks = jnp.asarray(rng.standard_normal(4, np.float32))
    mask = jnp.asarray(rng.random((2, 1, 9, 13)) < 0.7).at[..., 0].set(True)
    distance = jnp.abs(jnp.arange(9)[:, None] + 4 - jnp.arange(13))

    def mine(q, k, v, bias, slopes, sinks):
        return heed.jax.attention(
            q, k, v, bias=bias, mask=mask, alibi_slopes=slopes, sink_logits=sinks
        )

    def theirs(q, k, v, bias, slopes, sinks):
        added = bias - slopes[:, None, None] * distance
        return softmax_attention(q, k, v, mask, added, sinks)

    compare_gradients(mine, theirs, [*arrays, bias, slopes, sinks])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "rule",
    [
        {"softcap": 3.0},
        {"causal": True, "causal_offset": -3},  # rows that see nothing
        {"window_size": (2, 1), "sink_size": 2, "softmax_scale": 0.3},
    ],
)
def test_what_backward_differentiates_is_the_forward(qkv, layout, rule):
    arrays = list(map(jnp.asarray, arranged(qkv, layout)))
    made = heed.jax.attention(*arrays, **rule, return_lse=True, layout=layout)
    full = dict(
        softmax_scale=None,
        causal=False,
        window_size=(-1, -1),
        softcap=0.0,
        sink_size=0,
        causal_offset=None,
    )
    whole = heed.jax._Rule(**{**full, **rule}, layout=layout, numerics="fast")
    plain = heed.jax._plain(whole, *arrays, None, None, None, None)
    for a, b in zip(made, plain):
        np.testing.assert_allclose(a, b, atol=2e-6, rtol=2e-6)
    made = jax.grad(
        lambda q: heed.jax.attention(q, *arrays[1:], **rule, layout=layout).sum()
    )(arrays[0])
    assert bool(jnp.isfinite(made).all())


def test_gradients_through_lse(qkv):
    q, k, v = map(jnp.asarray, qkv(heads=2))
    got = jax.grad(lambda q: heed.jax.attention(q, k, v, return_lse=True)[1].sum())(q)

    def lse(q):
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, precision="highest") / 4
        return jax.nn.logsumexp(scores, -1).sum()

    np.testing.assert_allclose(got, jax.grad(lse)(q), atol=1e-5, rtol=1e-4)


def test_vmap_and_large_calls(qkv, way):
    arrays = [jnp.stack([jnp.asarray(x)] * 3) for x in qkv(rows=300, keys=300)]
    call = functools.partial(heed.jax.attention, causal=True)
    got = jax.jit(jax.vmap(call))(*arrays)
    want = call(*(x[0] for x in arrays))
    for part in got:
        np.testing.assert_array_equal(part, want)
    chained = jax.jit(lambda q, k, v: call(call(q, k, v), k, v))
    np.testing.assert_array_equal(
        chained(*(x[0] for x in arrays)), call(want, arrays[1][0], arrays[2][0])
    )


def test_arrays_without_elements(qkv):
    q, k, v = map(jnp.asarray, qkv())
    out, lse = heed.jax.attention(q, k[:, :0], v[:, :0], return_lse=True)
    assert not out.any() and bool(jnp.isneginf(lse).all())
    assert heed.jax.attention(q[:, :0], k, v).shape == (2, 0, 4, 16)


def test_biases_of_every_extent(qkv, way, rng):
    q, k, v = map(jnp.asarray, qkv())
    for extents in ((4, 9, 13), (2, 1, 1, 13)):
        given = {
            "bias": jnp.asarray(rng.standard_normal(extents, np.float32)),
            "mask": jnp.asarray(rng.random(extents) < 0.7),
            "alibi_slopes": jnp.asarray(rng.random((2, 4), np.float32)),
            "sink_logits": jnp.asarray(rng.random(4, np.float32)),
        }
        for left_out in (None, *given):
            some = {name: x for name, x in given.items() if name != left_out}
            got = heed.jax.attention(q, k, v, causal=True, **some)
            some = {name: np.asarray(x) for name, x in some.items()}
            want = heed.attention(*map(np.asarray, (q, k, v)), causal=True, **some)
            np.testing.assert_array_equal(got, want)


def test_what_is_refused_in_the_middle_of_a_run(qkv):
    """What _check would have refused before."""
    if not heed.jax.by_ffi():
        pytest.skip("the package was built without XLA's headers")
    q, k, v = map(jnp.asarray, qkv())
    rule = heed.jax._Rule(None, False, (-1, -1), 0.0, -1, None, "bshd", "fast")
    results = (
        jax.ShapeDtypeStruct(q.shape, q.dtype),
        jax.ShapeDtypeStruct((2, 4, 9), jnp.float32),
    )
    with pytest.raises(Exception, match="sink_size"):
        out = heed.jax._call_by_ffi(rule, results, (q, k, v, None, None, None, None))
        jax.block_until_ready(out)


def test_forward_mode(qkv):
    q, k, v = map(jnp.asarray, qkv())
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda q: heed.jax.attention(q, k, v), (q,), (q,))


def test_what_is_refused(qkv):
    q, k, v = map(jnp.asarray, qkv())
    wrong = [
        (ValueError, "v: needs the axes of k", (q, k[:, :, :1], v), {}),
        (ValueError, "kv_heads|heads", (q, k[:, :, [0, 0, 0]], v[:, :, [0, 0, 0]]), {}),
        (ValueError, "q's head_dim 16, got 8", (q, k[..., :8], v), {}),
        (ValueError, "q's batch 2, got 1", (q, k[:1], v[:1]), {}),
        (ValueError, "layout", (q, k, v), {"layout": "dbsh"}),
        (ValueError, "mask", (q, k, v), {"mask": jnp.ones((3, 9, 13), bool)}),
        (TypeError, "int32", (q.astype(jnp.int32), k, v), {}),
        (TypeError, "q: needs an array", ([1.0], k, v), {}),
    ]
    for kind, words, arrays, more in wrong:
        for call in (heed.jax.attention, jax.jit(heed.jax.attention, static_argnames="layout")):
            if not isinstance(arrays[0], list) or call is heed.jax.attention:
                with pytest.raises(kind, match=words):
                    call(*arrays, **more)


@pytest.mark.parametrize("name", ["bias", "mask", "alibi_slopes", "sink_logits"])
def test_what_is_no_array(qkv, name):
    arrays = list(map(jnp.asarray, qkv()))
    with pytest.raises(TypeError, match=f"{name}: needs an array, got list"):
        heed.jax.attention(*arrays, **{name: [1.0]})
