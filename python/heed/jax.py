# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed for JAX, under jit, grad and vmap.

    import heed.jax
    out = jax.jit(functools.partial(heed.jax.attention, causal=True))(q, k, v)

The call goes through jax.pure_callback, so that the package needs neither jax nor
its headers where it is built. Backward is plain jax, and forms the scores.
"""

import functools
from typing import NamedTuple, Optional, Tuple

import jax
import jax.numpy as jnp
import numpy as np

from heed import _heed

__all__ = ["attention"]


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
