# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed for JAX, under jit, grad and vmap.

    import heed.jax
    out = jax.jit(functools.partial(heed.jax.attention, causal=True))(q, k, v)

XLA calls heed by its foreign function interface, which copies nothing, where the
package was built with jaxlib at hand (by_ffi() tells); else through
jax.pure_callback. Backward is plain jax, and forms the scores.
"""

import functools
from typing import NamedTuple, Optional, Tuple

import jax
import jax.numpy as jnp
import numpy as np

from heed import _heed

__all__ = ["attention", "by_ffi"]

_TARGET = "heed_attention"
_BOTTOM_RIGHT = np.iinfo(np.int64).min  # kBottomRight of heed/attention.h
_LAYOUTS = ("bshd", "bhsd", "thd")  # in the order of the extension


class _Rule(NamedTuple):
    """What a call says beside arrays."""

    softmax_scale: Optional[float]
    causal: bool
    window_size: Tuple[int, int]
    softcap: float
    sink_size: int
    causal_offset: Optional[int]
    layout: str
    numerics: str


def _inputs(rule, q, k, v, bias, mask, slopes, sinks):
    """Arguments of _heed.attend and _heed.explain up to those of varlen()."""
    return (
        q,
        k,
        v,
        rule.softmax_scale,
        rule.causal,
        rule.window_size,
        rule.softcap,
        rule.sink_size,
        rule.causal_offset,
        bias,
        mask,
        slopes,
        sinks,
        None,
        None,
        None,
        None,
    )


def _blank(x):
    """An array of x's shape and dtype that holds one row."""
    if x is None:
        return None
    return np.broadcast_to(np.zeros(x.shape[-1:], x.dtype), x.shape)


def _check(rule, *arrays):
    """Raises what a call would, while jax traces, not in the middle of a run."""
    q, k, v = arrays[:3]
    _heed.explain(*_inputs(rule, *map(_blank, arrays)), rule.layout, rule.numerics)
    if k.shape[:-1] != v.shape[:-1]:
        raise ValueError(
            f"v: needs the axes of k but for the last, {list(k.shape[:-1])}, got "
            f"{list(v.shape[:-1])}"
        )
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"k: needs q's head_dim {q.shape[-1]}, got {k.shape[-1]}")
    if rule.layout != "thd" and q.shape[0] != k.shape[0]:
        raise ValueError(f"k: needs q's batch {q.shape[0]}, got {k.shape[0]}")


@functools.cache
def by_ffi():
    """Whether calls go by XLA's foreign function interface, not by a callback.

    So it is where jax runs on the CPU and its interface is of the version that
    the package was built with.
    """
    handler = getattr(_heed, "xla_attend", None)
    if handler is None or jax.default_backend() != "cpu":
        return False
    try:
        jax.ffi.register_ffi_target(_TARGET, handler, platform="cpu")
    except Exception:  # each version of jax has its own for another interface
        return False
    return True


def _call_by_ffi(rule, results, arrays):
    given = sum(1 << i for i, x in enumerate(arrays[3:]) if x is not None)
    offset = rule.causal_offset
    left, right = rule.window_size
    call = jax.ffi.ffi_call(_TARGET, results, vmap_method="sequential")
    return call(
        *(x for x in arrays if x is not None),
        given=np.int64(given),
        softmax_scale=np.float32(rule.softmax_scale or 0),
        softcap=np.float32(rule.softcap),
        causal=np.bool_(rule.causal),
        causal_offset=np.int64(_BOTTOM_RIGHT if offset is None else offset),
        window_left=np.int64(left),
        window_right=np.int64(right),
        sink_size=np.int64(rule.sink_size),
        layout=np.int64(_LAYOUTS.index(rule.layout)),
        same_numerics=np.bool_(rule.numerics == "same"),
    )


def _lse_shape(rule, q):
    if rule.layout == "thd":
        return (q.shape[1], q.shape[0])
    return (q.shape[0], q.shape[2], q.shape[1]) if rule.layout == "bshd" else q.shape[:3]


def _host(rule, *arrays):
    arrays = (None if x is None else np.asarray(x) for x in arrays)
    return _heed.attend(
        *_inputs(rule, *arrays), None, True, rule.layout, rule.numerics
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(rule, q, k, v, bias, mask, slopes, sinks):
    arrays = (q, k, v, bias, mask, slopes, sinks)
    _check(rule, *arrays)
    results = (
        jax.ShapeDtypeStruct((*q.shape[:-1], v.shape[-1]), q.dtype),
        jax.ShapeDtypeStruct(_lse_shape(rule, q), jnp.float32),
    )
    # Of an array without elements XLA knows no place.
    if by_ffi() and all(x.size for x in arrays if x is not None):
        return _call_by_ffi(rule, results, arrays)
    return jax.pure_callback(
        functools.partial(_host, rule), results, *arrays, vmap_method="sequential"
    )


def _forward(rule, *arrays):
    return _attention(rule, *arrays), arrays


def _hidden(rule, rows, keys):
    """What the rule hides, bool [rows, keys], and where the rows stand [rows, 1]."""
    offset = keys - rows if rule.causal_offset is None else rule.causal_offset
    at = jnp.arange(rows)[:, None] + offset
    j = jnp.arange(keys)[None, :]
    left, right = rule.window_size
    hidden = jnp.zeros((rows, keys), bool)
    if left >= 0:
        hidden |= j < at - left
    if right >= 0:
        hidden |= j > at + right
    hidden &= j >= rule.sink_size
    return (hidden | (j > at) if rule.causal else hidden), at


def _of_heads(numbers, axes):
    numbers = numbers.astype(jnp.float32)
    return numbers.reshape((1,) * (2 - numbers.ndim) + numbers.shape + (1,) * axes)


def _plain(rule, q, k, v, bias, mask, slopes, sinks):
    """The same by jax, step by step, for its gradients: forms the scores."""
    kind = q.dtype
    if rule.layout == "thd":
        q, k, v = (x.swapaxes(0, 1)[None] for x in (q, k, v))
    elif rule.layout == "bshd":
        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    group = q.shape[1] // k.shape[1]
    q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
    k, v = (jnp.repeat(x, group, axis=1) for x in (k, v))
    highest = jax.lax.Precision.HIGHEST
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k, precision=highest)
    scores *= rule.softmax_scale or q.shape[-1] ** -0.5
    if rule.softcap:
        scores = rule.softcap * jnp.tanh(scores / rule.softcap)
    hidden, at = _hidden(rule, q.shape[2], k.shape[2])
    if bias is not None:
        scores += bias.astype(jnp.float32)
    if slopes is not None:
        distance = jnp.abs(at - jnp.arange(k.shape[2]))
        scores -= _of_heads(slopes, 2) * distance
    if mask is not None:
        hidden = hidden | ~mask
    hidden = jnp.broadcast_to(hidden, scores.shape)
    # A row that sees nothing must not make a NaN, nor of its gradient.
    top = jnp.max(jnp.where(hidden, -jnp.inf, scores), -1, initial=-jnp.inf)
    if sinks is not None:
        top = jnp.maximum(top, _of_heads(sinks, 1))
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
    weights = jnp.where(
        hidden, 0, jnp.exp(jnp.where(hidden, 0, scores - top[..., None]))
    )
    total = weights.sum(-1)
    if sinks is not None:
        total += jnp.exp(_of_heads(sinks, 1) - top)
    empty = total == 0
    safe = jnp.where(empty, 1, total)
    out = jnp.einsum("bhqk,bhkd->bhqd", weights, v, precision=highest)
    out /= safe[..., None]
    lse = jnp.where(empty, -jnp.inf, top + jnp.log(safe))
    out = out.astype(kind)
    if rule.layout == "thd":
        return out[0].swapaxes(0, 1), lse[0]
    return (out.swapaxes(1, 2) if rule.layout == "bshd" else out), lse


def _backward(rule, arrays, gradients):
    q, k, v, bias, mask, slopes, sinks = arrays

    def of_floats(q, k, v, bias, slopes, sinks):
        return _plain(rule, q, k, v, bias, mask, slopes, sinks)

    _, pull = jax.vjp(of_floats, q, k, v, bias, slopes, sinks)
    q, k, v, bias, slopes, sinks = pull(gradients)
    return q, k, v, bias, None, slopes, sinks


_attention.defvjp(_forward, _backward)


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
    """heed.attention() of jax arrays on the CPU, with gradients.

    Arguments and results are those of heed.attention(); there is no `out`. What
    is no array must be known while jax traces. All float arrays get gradients,
    through lse too, by reverse mode only; backward needs memory for the scores,
    [batch, heads, seqlen_q, seqlen_k] a few times.

    Raises ValueError and TypeError as heed.attention() does, while jax traces.
    """
    optional = {
        "bias": bias,
        "mask": mask,
        "alibi_slopes": alibi_slopes,
        "sink_logits": sink_logits,
    }
    given = {name: x for name, x in optional.items() if x is not None}
    for name, x in {"q": q, "k": k, "v": v, **given}.items():
        if not isinstance(x, (jax.Array, np.ndarray)):
            raise TypeError(f"{name}: needs an array, got {type(x).__name__}")
    left, right = window_size
    rule = _Rule(
        None if softmax_scale is None else float(softmax_scale),
        bool(causal),
        (int(left), int(right)),
        float(softcap),
        int(sink_size),
        None if causal_offset is None else int(causal_offset),
        layout,
        numerics,
    )
    out, lse = _attention(rule, q, k, v, bias, mask, alibi_slopes, sink_logits)
    return (out, lse) if return_lse else out
