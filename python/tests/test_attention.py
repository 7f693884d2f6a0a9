# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""attention() against double precision, and its promises."""

import os
import threading
from importlib import metadata

import numpy as np
import oracle
import pytest

import heed

CASES = {
    "plain": {},
    "causal": {"causal": True},
    "offset": {"causal": True, "causal_offset": 2},
    "window": {"window_size": (3, 1)},
    "window_sinks": {"causal": True, "window_size": (2, -1), "sink_size": 2},
    "scale": {"softmax_scale": 0.7},
    "softcap": {"softcap": 1.5, "causal": True},
    "hidden_rows": {"causal": True, "causal_offset": -4},
}


def close(got, truth, tolerance=4e-6):
    np.testing.assert_allclose(got, truth, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rows, keys", [(9, 13), (1, 70), (130, 130)])
def test_equals_the_oracle(qkv, case, rows, keys):
    q, k, v = qkv(rows=rows, keys=keys, dv=24)
    out, lse = heed.attention(q, k, v, return_lse=True, **CASES[case])
    truth, truth_lse = oracle.attention(q, k, v, **CASES[case])
    assert out.dtype == np.float32 and out.shape == (2, rows, 4, 24)
    close(out, truth)
    close(lse, truth_lse, 4e-6)


@pytest.mark.parametrize("axes", [(), (13,), (9, 13), (4, 1, 13), (2, 1, 9, 13)])
def test_bias_and_mask_broadcast(qkv, rng, axes):
    q, k, v = qkv()
    bias = rng.standard_normal(axes).astype(np.float32)
    mask = rng.random(axes) < 0.7
    mask = np.asarray(mask)
    out = heed.attention(q, k, v, bias=bias, mask=mask)
    close(out, oracle.attention(q, k, v, bias=bias, mask=mask)[0])


@pytest.mark.parametrize("axes", [(4,), (2, 4)])
def test_slopes_and_sinks(qkv, rng, axes):
    q, k, v = qkv()
    slopes = rng.random(axes).astype(np.float32)
    extra = {"alibi_slopes": slopes, "sink_logits": slopes - 0.5, "causal": True}
    out, lse = heed.attention(q, k, v, return_lse=True, **extra)
    truth, truth_lse = oracle.attention(q, k, v, **extra)
    close(out, truth)
    close(lse, truth_lse, 4e-6)


def test_layouts_are_the_same_bits(qkv):
    q, k, v = qkv()
    out, lse = heed.attention(q, k, v, causal=True, return_lse=True)
    turned = [x.swapaxes(1, 2) for x in (q, k, v)]  # views, and copies of them
    for tensors in (turned, [x.copy() for x in turned]):
        again, again_lse = heed.attention(
            *tensors, causal=True, return_lse=True, layout="bhsd"
        )
        assert (again == out.swapaxes(1, 2)).all() and (again_lse == lse).all()
    one, one_lse = heed.attention(
        q[1], k[1], v[1], causal=True, return_lse=True, layout="thd"
    )
    assert (one == out[1]).all() and (one_lse == lse[1]).all()


def test_takes_memory_in_place(qkv):
    q, k, v = qkv()
    packed = np.zeros((2, 13, 8, 16), np.float32)
    packed[:, :, 4:6], packed[:, :, 6:] = k, v
    packed[:, 4:, :4] = q
    packed.flags.writeable = False
    out = np.full((2, 18, 4, 16), 7, np.float32)
    same = heed.attention(
        packed[:, 4:, :4], packed[:, :, 4:6], packed[:, :, 6:], out=out[:, ::2]
    )
    assert same.base is out or same.base is out.base
    assert (out[:, ::2] == heed.attention(q, k, v)).all() and (out[:, 1::2] == 7).all()
    assert (heed.attention(memoryview(q), memoryview(k), v) == out[:, ::2]).all()


def test_float16_and_mixed(qkv):
    q, k, v = qkv()
    narrow = [x.astype(np.float16) for x in (q, k, v)]
    out = heed.attention(*narrow)
    assert out.dtype == np.float16
    close(out, oracle.attention(*narrow)[0], 1e-3)
    mixed = heed.attention(q, *narrow[1:], out=np.empty_like(q))
    close(mixed, oracle.attention(q, *narrow[1:])[0])


def test_bfloat16(qkv):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    q, k, v = (x.astype(bfloat16) for x in qkv(rows=100, keys=100))
    truth = oracle.attention(*(x.astype(np.float32) for x in (q, k, v)))[0]
    for numerics in ("same", "fast"):
        out = heed.attention(q, k, v, numerics=numerics)
        assert out.dtype == bfloat16
        close(out.astype(np.float32), truth, 2e-2)


def test_same_bits_whatever_threads_chunks_and_batch(qkv):
    q, k, v = qkv(rows=300, keys=300, batch=2)
    try:
        heed.set_num_threads(1)
        one = heed.attention(q, k, v, causal=True)
        for threads in (2, 3, 7):
            heed.set_num_threads(threads)
            assert (heed.attention(q, k, v, causal=True) == one).all()
    finally:
        heed.set_num_threads(0)
    for begin, end in ((0, 1), (0, 117), (117, 300), (299, 300)):
        part = heed.attention(q[:, begin:end], k[:, :end], v[:, :end], causal=True)
        assert (part == one[:, begin:end]).all()
    assert (heed.attention(q[1:], k[1:], v[1:], causal=True) == one[1:]).all()


def test_calls_from_many_threads(qkv):
    q, k, v = qkv(rows=150, keys=150)
    right = heed.attention(q, k, v)
    wrong = []

    def work():
        for _ in range(20):
            if not (heed.attention(q, k, v) == right).all():
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_the_gil_is_released(qkv):
    q, k, v = qkv(rows=3000, keys=3000, batch=1)
    count = 0
    calls = threading.Event()

    def call():
        heed.attention(q, k, v)
        calls.set()

    worker = threading.Thread(target=call)
    worker.start()
    while not calls.is_set():
        count += 1
    worker.join()
    # A call that held the GIL would let this loop run once, at its ends.
    assert count > 100


def test_a_forked_child_has_threads(qkv):
    q, k, v = qkv(rows=300, keys=300)
    heed.set_num_threads(3)
    try:
        right = heed.attention(q, k, v)
        pid = os.fork()
        if pid == 0:
            equal = (heed.attention(q, k, v) == right).all()
            os._exit(0 if equal and heed.info()["threads"] == 3 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert (heed.attention(q, k, v) == right).all()
    finally:
        heed.set_num_threads(0)


def test_merge_state(qkv):
    q, k, v = qkv()
    out, lse = heed.attention(q, k, v, return_lse=True)
    parts = []
    for part in (slice(0, 5), slice(5, 13)):
        parts += heed.attention(q, k[:, part], v[:, part], return_lse=True)
    merged, merged_lse = heed.merge_state(*parts)
    close(merged, out)
    close(merged_lse, lse)
    one = heed.merge_state(*(part[0] for part in parts), layout="thd")
    assert (one[0] == merged[0]).all() and (one[1] == merged_lse[0]).all()


@pytest.mark.parametrize("rows, keys", [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_see(qkv, rows, keys):
    q, k, v = qkv(rows=rows, keys=keys)
    out, lse = heed.attention(q, k, v, return_lse=True)
    assert out.shape == q.shape and (out == 0).all() and (lse == -np.inf).all()


def test_explain_and_info(qkv):
    q, k, v = qkv()
    info = heed.info()
    assert info["version"] == heed.__version__ == metadata.version("heed")
    assert info["target"] in [t["name"] for t in info["targets"] if t["usable"]]
    assert info["target"] in heed.explain(q, k, v, causal=True)
    assert heed.attention.__doc__ and heed.with_kvcache.__doc__
