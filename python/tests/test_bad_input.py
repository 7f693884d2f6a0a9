# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What is refused: one clear exception each, and nothing written."""

import random
import sys

import numpy as np
import pytest

import heed

f4 = np.float32


def tensor(*extents, dtype=f4):
    return np.ones(extents, dtype)


Q, KV = (1, 4, 4, 8), (1, 6, 2, 8)


class Elsewhere:
    """A tensor on a device of type 2, as CUDA's."""

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **_):
        raise AssertionError("was asked for its memory")


def read_only():
    array = tensor(*Q)
    array.flags.writeable = False
    return array


CASES = [
    # (arguments, the exception, words of its sentence)
    ({"q": None}, TypeError, "q: needs a tensor"),
    ({"k": [[1.0]]}, TypeError, "k: needs a tensor"),
    ({"q": tensor(4, 4, 8)}, ValueError, "q: needs 4 axes"),
    ({"q": tensor(*Q), "layout": "thd"}, ValueError, "q: needs 3 axes"),
    ({"layout": "bsdh"}, ValueError, "layout: 'bsdh'"),
    ({"layout": 3}, TypeError, "layout"),
    ({"q": tensor(*Q, dtype=np.float64)}, TypeError, "q: float64"),
    ({"v": tensor(*KV, dtype=np.int32)}, TypeError, "v: int32"),
    ({"q": tensor(*Q, dtype="U1")}, TypeError, "q: its elements"),
    ({"q": tensor(*Q, dtype=np.complex64)}, TypeError, "q: its elements"),
    ({"k": tensor(1, 6, 2, 9)}, ValueError, "head_dim"),
    ({"k": tensor(1, 5, 2, 8)}, ValueError, "seqlen"),
    ({"k": tensor(1, 6, 3, 8), "v": tensor(1, 6, 3, 8)}, ValueError, "num_kv_heads"),
    ({"k": tensor(2, 6, 2, 8), "v": tensor(2, 6, 2, 8)}, ValueError, "batch"),
    ({"q": tensor(1, 4, 4, 16)[..., ::2]}, ValueError, "innermost"),
    ({"q": tensor(*Q)[:, ::-1]}, ValueError, "negative"),
    ({"q": tensor(1, 4, 4, 2000), "k": tensor(1, 6, 2, 2000)}, ValueError, "1024"),
    ({"q": Elsewhere()}, ValueError, "q: is not in the memory of the CPU"),
    ({"out": tensor(1, 4, 4, 9)}, ValueError, "out"),
    ({"out": tensor(*Q, dtype=np.float64)}, TypeError, "out: float64"),
    ({"out": read_only()}, ValueError, "out: is read-only"),
    ({"out": np.broadcast_to(f4(1), Q)}, ValueError, "out"),
    ({"softmax_scale": float("nan")}, ValueError, "softmax_scale"),
    ({"softmax_scale": 1e-60}, ValueError, "softmax_scale: is too small"),
    ({"softcap": 1e-60}, ValueError, "softcap: is too small"),
    ({"softmax_scale": "x"}, TypeError, "softmax_scale: needs a number"),
    ({"softcap": -1.0}, ValueError, "softcap"),
    ({"softcap": float("inf")}, ValueError, "softcap"),
    ({"window_size": (-2, 0)}, ValueError, "window_left"),
    ({"window_size": 3}, TypeError, "window_size"),
    ({"window_size": (1, 2, 3)}, TypeError, "window_size"),
    ({"window_size": (1.5, 2)}, TypeError, "window_size: needs a whole"),
    ({"sink_size": -1}, ValueError, "sink_size"),
    ({"causal_offset": 2**70}, ValueError, "causal_offset"),
    ({"mask": tensor(4, 6)}, TypeError, "mask: needs bool"),
    ({"bias": tensor(4, 6, dtype=bool)}, TypeError, "bias: is bool"),
    ({"mask": tensor(4, 5, dtype=bool)}, ValueError, "mask: axis 1"),
    ({"bias": tensor(1, 1, 1, 4, 6)}, ValueError, "bias: needs at most 4"),
    ({"alibi_slopes": tensor(3)}, ValueError, "alibi_slopes: axis 0"),
    ({"alibi_slopes": tensor(4, dtype=np.float16)}, ValueError, "alibi_slopes"),
    ({"sink_logits": tensor(1, 1, 4)}, ValueError, "sink_logits: needs at most 2"),
    ({"numerics": "best"}, ValueError, "numerics"),
]


@pytest.mark.parametrize("arguments, error, words", CASES)
def test_refused(arguments, error, words):
    arguments = {"q": tensor(*Q), "k": tensor(*KV), "v": tensor(*KV), **arguments}
    given = arguments.get("out")
    out = np.full(Q, 7, f4)
    arguments.setdefault("out", out)
    with pytest.raises(error, match=words):
        heed.attention(**arguments)
    assert (out == 7).all()
    if given is not None:
        assert (np.asarray(given) == 1).all()


def test_out_over_an_input():
    q = tensor(*Q)
    with pytest.raises(ValueError, match="overlap"):
        heed.attention(q, tensor(*KV), tensor(*KV), out=q)
    assert (q == 1).all()


def read_with_a_cache():
    """with_kvcache's arguments, and what it only reads of them."""
    cos, sin = heed.rope_tables(8, 8)
    given = {
        "q": tensor(*Q),
        "k_cache": np.zeros(KV, f4),
        "v_cache": np.zeros(KV, f4),
        "k": tensor(1, 2, 2, 8),
        "v": tensor(1, 2, 2, 8),
        "rotary_cos": cos,
        "rotary_sin": sin,
        "alibi_slopes": tensor(4),
        "sink_logits": tensor(4),
    }
    return given, [name for name in given if not name.endswith("_cache")]


@pytest.mark.parametrize("name", read_with_a_cache()[1])
@pytest.mark.parametrize("written", ["out", "k_cache", "v_cache"])
def test_what_a_cache_overlaps(name, written):
    """Both in one piece of memory, in which the second begins inside the first."""
    given, _ = read_with_a_cache()
    given["out"] = np.zeros(Q, f4)
    first, second = given[name], given[written]
    memory = np.zeros(first.size + second.size, f4)
    given[name] = memory[: first.size].reshape(first.shape)
    given[name][:] = first
    given[written] = memory[first.size :].reshape(second.shape)
    heed.with_kvcache(**given, cache_seqlens=0)  # side by side they may stand
    before = memory.copy()
    given[written] = memory[first.size - 1 : -1].reshape(second.shape)
    others = {key: x.copy() for key, x in given.items()}
    with pytest.raises(ValueError, match="overlaps"):
        heed.with_kvcache(**given, cache_seqlens=0)
    assert (memory == before).all()
    for key, x in others.items():
        np.testing.assert_array_equal(given[key], x)


def refused(*arguments, **more):
    try:
        heed.attention(*arguments, **more)
    except (TypeError, ValueError):
        return True
    return False


def test_what_is_refused_is_given_back():
    """An array that is still lent could not be resized."""
    names = tensor(*Q, dtype="U1")
    frozen = read_only()
    assert refused(names, tensor(*KV), tensor(*KV))
    assert refused(tensor(*Q), tensor(*KV), tensor(*KV), out=frozen)
    for array in (names, frozen):
        count = sys.getrefcount(array)
        refused(array, tensor(*KV), tensor(*KV), out=array)
        assert sys.getrefcount(array) == count


def test_a_variant_writes_over_no_input():
    k = tensor(1, 6, 2, 8)
    gate = tensor(1, 6, 2, 1)
    out = np.lib.stride_tricks.as_strided(gate, (1, 1, 2, 1), (4, 4, 4, 4))
    with pytest.raises(ValueError, match="out: overlaps gate"):
        heed.run_variant(
            "simple_gla",
            k[:, -1:],
            k,
            tensor(1, 6, 2, 1),
            causal=True,
            inputs={"gate": gate},
            out=out,
        )
    assert (gate == 1).all()


@pytest.mark.parametrize("number", [-1, 4097, 2**40, 2**80])
def test_threads(number):
    with pytest.raises(ValueError, match="num_threads"):
        heed.set_num_threads(number)
    with pytest.raises(TypeError, match="num_threads: needs a whole number"):
        heed.set_num_threads(1.5)


def test_rope_tables():
    for arguments, error, words in (
        ((8.0, 2), TypeError, "rotary_dim: needs a whole number"),
        ((8, 2**70), ValueError, "positions: leaves 64 bits"),
        ((8, -1), ValueError, "positions"),
    ):
        with pytest.raises(error, match=words):
            heed.rope_tables(*arguments)
    with pytest.raises(ValueError, match="first"):
        heed.rope_tables(8, 2, first=-1)
    with pytest.raises(TypeError, match="theta: needs a number"):
        heed.rope_tables(8, 2, theta="x")


@pytest.mark.parametrize(
    "scaling, error, words",
    [
        ([("kind", "ntk")], TypeError, "scaling: needs a dict"),
        ({}, ValueError, "scaling: needs a kind"),
        ({"kind": "default"}, ValueError, "linear, ntk, yarn or llama3"),
        ({"kind": 3}, ValueError, "linear, ntk, yarn or llama3"),
        ({"kind": "ntk", "by": 2}, ValueError, "scaling: has no number 'by'"),
        ({"kind": "ntk", "factor": "x"}, TypeError, "factor: needs a number"),
        ({"kind": "ntk", "factor": 0.5}, ValueError, "factor"),
        ({"kind": "yarn", "factor": 2}, ValueError, "original_positions"),
        (
            {"kind": "yarn", "original_positions": 1.5},
            TypeError,
            "original_positions: needs a whole number",
        ),
    ],
)
def test_scaled_rope_tables(scaling, error, words):
    with pytest.raises(error, match=words):
        heed.rope_tables(8, 2, scaling=scaling)


def test_scaling_and_frequencies():
    scaling = {"kind": "linear", "factor": 2}
    with pytest.raises(ValueError, match="scaling: not together"):
        heed.rope_tables(4, 2, frequencies=[1, 0.1], scaling=scaling)


@pytest.mark.parametrize(
    "lengths, words",
    [
        (-1, "cache_seqlens"),
        (2**80, "cache_seqlens: leaves 64 bits"),
        (np.int64(5), "cache_seqlens"),
        (5, "cache_seqlens"),  # and 2 new ones of 6
        ([1, 2], "cache_seqlens"),
        (np.array([9], np.int32), "cache_seqlens"),
        (np.array([-5], np.int64), "cache_seqlens"),
        (np.array([2**40]), "cache_seqlens"),
        (None, "cache_seqlens"),
    ],
)
def test_a_cache_is_not_touched(lengths, words):
    cache = [np.zeros(KV, f4), np.zeros(KV, f4)]
    new = tensor(1, 2, 2, 8)
    with pytest.raises(ValueError, match=words):
        heed.with_kvcache(tensor(*Q), *cache, new, new, cache_seqlens=lengths)
    for extra in ({"window_size": (-3, 0)}, {"softcap": -1.0}, {"out": tensor(1)}):
        with pytest.raises(ValueError):
            heed.with_kvcache(tensor(*Q), *cache, new, new, cache_seqlens=0, **extra)
    assert not cache[0].any() and not cache[1].any()


def test_flash_attn_refuses_by_name():
    q, k = tensor(*Q), tensor(*KV)
    with pytest.raises(ValueError, match="dropout_p"):
        heed.flash_attn_func(q, k, k, dropout_p=0.1)
    with pytest.raises(ValueError, match="cache_leftpad"):
        heed.flash_attn_with_kvcache(q, k, k, cache_leftpad=np.zeros(1, np.int32))
    with pytest.raises(TypeError, match="k: is float16, and q float32"):
        heed.flash_attn_func(q, k.astype(np.float16), k)
    with pytest.raises(ValueError, match="max_seqlen_q"):
        heed.flash_attn_varlen_func(q[0], k[0], k[0], [0, 4], [0, 6], 3, 6)


@pytest.mark.parametrize(
    "lists",
    [
        {"cu_seqlens_q": [0, 5], "cu_seqlens_k": [0, 6]},
        {"cu_seqlens_q": [0, 3, 2, 4], "cu_seqlens_k": [0, 2, 4, 6]},
        {"cu_seqlens_q": [0, 4], "cu_seqlens_k": [0, 2, 6]},
        {"cu_seqlens_q": [], "cu_seqlens_k": []},
        {"cu_seqlens_q": [0, 4], "seqlens_k": [7]},
    ],
)
def test_lists_of_varlen(lists):
    out = np.full(Q[1:], 7, f4)
    with pytest.raises(ValueError):
        heed.varlen(tensor(*Q[1:]), tensor(*KV[1:]), tensor(*KV[1:]), out=out, **lists)
    assert (out == 7).all()


def test_no_sequences():
    none = tensor(0, 4, 2, 8)
    with pytest.raises(ValueError, match="q: needs at least one sequence"):
        heed.varlen(none, none, none, seqlens_k=[], layout="bshd")


def random_call(draw):
    """One call with arguments that may be anything."""

    def extents(rank):
        return [draw.choice([0, 1, 1, 2, 2, 3, 4, 5, 8]) for _ in range(rank)]

    def some(rank):
        kind = draw.randrange(24)
        if kind == 0:
            return draw.choice([None, 3, "x", [1.0], b"xx", object(), 2.5])
        shape = extents(draw.choice([rank] * 8 + [1, 2, 3, 5]))
        dtype = draw.choice(["f4"] * 6 + ["f2", "f8", "i4", "i8", "?", "u1"])
        array = np.zeros(shape, dtype)
        if kind == 1 and array.ndim:
            array = array[..., ::-1]
        elif kind == 2 and array.ndim > 1:
            array = array.swapaxes(0, 1)
        elif kind == 3:
            array = np.broadcast_to(np.float32(0), shape)
        return array

    def number():
        return draw.choice([0, 1, 2, 3, -1, -2, 7, 2**31, -(2**40), 0.5, None, "y"])

    call = draw.randrange(4)
    b, h, d = draw.choice([1, 2]), draw.choice([1, 2]), draw.choice([1, 8])
    q, k, v = (np.zeros((b, draw.randrange(5), h, d), "f4") for _ in range(3))
    if draw.random() < 0.7:
        v = k
    for name in range(3):
        if draw.random() < 0.07:
            q, k, v = (some(4) if i == name else x for i, x in enumerate((q, k, v)))
    extra = {}
    for name, make in {
        "softmax_scale": number,
        "causal": lambda: draw.random() < 0.5,
        "window_size": lambda: (number(), number()),
        "softcap": number,
        "sink_size": number,
        "alibi_slopes": lambda: some(1),
        "sink_logits": lambda: some(2),
        "return_lse": lambda: draw.random() < 0.5,
        "out": lambda: some(4),
        "layout": lambda: draw.choice(["bshd", "bhsd", "thd", "", 1]),
    }.items():
        if draw.random() < 0.05:
            extra[name] = make()

    def list_of_numbers():
        if draw.random() < 0.3:
            return some(draw.choice([1, 2]))
        return [
            draw.choice([0, 1, 2, 3, 4, -1, 2**33]) for _ in range(draw.randrange(4))
        ]

    if call == 0:
        for name in ("bias", "mask"):
            if draw.random() < 0.3:
                extra[name] = some(4)
        return heed.attention, (q, k, v), extra
    if call == 1:
        if draw.random() < 0.5:
            q, k, v = (
                x[0] if getattr(x, "ndim", 0) > 1 and len(x) else x for x in (q, k, v)
            )
        else:
            extra["layout"] = "bshd"
        for name in ("cu_seqlens_q", "cu_seqlens_k", "seqlens_k", "page_table"):
            if draw.random() < 0.5:
                extra[name] = list_of_numbers()
        return heed.varlen, (q, k, v), extra
    if call == 2:
        if draw.random() < 0.7:
            rows = np.zeros((b, draw.randrange(3), h, d), "f4")
            k, v = np.zeros_like(k), np.zeros_like(k)
            extra["k"] = extra["v"] = rows if draw.random() < 0.9 else some(4)
        for name in ("cache_seqlens", "cache_batch_idx", "page_table"):
            if draw.random() < 0.4:
                extra[name] = list_of_numbers() if draw.random() < 0.7 else number()
        for name in ("rotary_cos", "rotary_sin"):
            if draw.random() < 0.3:
                extra[name] = some(2)
        return heed.with_kvcache, (q, k, v), extra
    for name in ("bias",):
        extra.pop(name, None)
    extra.pop("alibi_slopes", None), extra.pop("sink_logits", None)
    extra.pop("return_lse", None)
    spec = draw.choice(
        ["exact", "linear", "window_sink:window=2", "quest", "no", ":", ""]
    )
    return heed.run_variant, (spec, q, k, v), extra


def fuzz(calls, seed):
    """Returns (calls that ran, calls that were refused)."""
    draw = random.Random(seed)
    ran = refused = 0
    for _ in range(calls):
        function, arguments, extra = random_call(draw)
        try:
            function(*arguments, **extra)
            ran += 1
        except (ValueError, TypeError):
            refused += 1
    return ran, refused


def test_random_calls_never_crash():
    ran, refused = fuzz(3000, seed=1)
    assert ran > 150 and refused > 1000
