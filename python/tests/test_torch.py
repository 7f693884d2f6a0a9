# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed.torch against PyTorch. Skipped where torch is not installed."""

import os

import numpy as np
import oracle
import pytest

torch = pytest.importorskip("torch")

import heed  # noqa: E402
import heed.torch  # noqa: E402

sdpa = torch.nn.functional.scaled_dot_product_attention


@pytest.fixture
def tensors():
    def make(rows=21, keys=21, heads=4, kv_heads=2, d=16, dtype=torch.float32, batch=2):
        torch.manual_seed(3)
        return [
            torch.randn(batch, n, h, d).to(dtype)
            for n, h in ((rows, heads), (keys, kv_heads), (keys, kv_heads))
        ]

    return make


def by_sdpa(q, k, v, **masks):
    """SDPA with heed's masks, on [b, s, h, d]."""
    bias = masks.pop("bias", None)
    given = masks.pop("mask", None)
    scale = masks.pop("softmax_scale", None)
    slopes = masks.pop("alibi_slopes", None)
    rows, keys = q.shape[1], k.shape[1]
    seen = torch.from_numpy(oracle.visible(rows, keys, **masks))
    if given is not None:
        seen = seen & given
    added = torch.where(seen, 0.0, -torch.inf)
    if bias is not None:
        added = added + bias
    if slopes is not None:
        at = torch.arange(rows)[:, None] + keys - rows
        added = added - slopes[:, None, None] * (at - torch.arange(keys)).abs()
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return sdpa(q, k, v, added.to(q.dtype), scale=scale, enable_gqa=True).transpose(
        1, 2
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_takes_tensors(tensors, dtype):
    q, k, v = tensors(dtype=dtype)
    out, lse = heed.attention(q, k, v, causal=True, return_lse=True)
    assert out.dtype == dtype and lse.dtype == torch.float32
    truth, truth_lse = oracle.attention(*(x.float() for x in (q, k, v)), causal=True)
    tolerance = 4e-6 if dtype == torch.float32 else 2e-2
    np.testing.assert_allclose(out.float(), truth, atol=tolerance)
    np.testing.assert_allclose(lse, truth_lse, atol=tolerance)
    assert heed.info()["threads_runtime"] == "OpenMP"
    assert (heed.torch.attention(q, k, v, causal=True) == out).all()


def test_the_plain_door_refuses_gradients(tensors):
    q, k, v = tensors()
    with pytest.raises(ValueError, match="v: needs gradients.*heed.torch.attention"):
        heed.attention(q, k, v.requires_grad_())
    with pytest.raises(ValueError, match="q: is not in the memory of the CPU"):
        heed.attention(q.to("meta"), k, v.detach())


MASKS = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"causal": True, "window_size": (3, 0), "sink_size": 2},
    "both_sides": {"window_size": (2, 4)},
    "offset": {"causal": True, "causal_offset": 3},
    "scale": {"softmax_scale": 0.3},
    "bias": {"bias": "bias"},
    "mask": {"mask": "mask", "causal": True},
    "alibi": {"alibi_slopes": "slopes", "causal": True},
}


def given(masks, rows, keys):
    masks = dict(masks)
    if "bias" in masks:
        masks["bias"] = torch.randn(4, rows, keys)
    if "mask" in masks:
        masks["mask"] = (torch.rand(2, 1, rows, keys) < 0.7) | torch.eye(
            rows, keys
        ).bool()
    if "alibi_slopes" in masks:
        masks["alibi_slopes"] = torch.rand(4)
    return masks


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("rows, keys", [(21, 21), (5, 21)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients(tensors, name, rows, keys, dtype):
    mine = [x.requires_grad_() for x in tensors(rows=rows, keys=keys, dtype=dtype)]
    theirs = [x.detach().clone().requires_grad_() for x in mine]
    masks = given(MASKS[name], rows, keys)
    if name == "mask":
        masks.pop("causal") if rows != keys else None
    weight = torch.randn(2, rows, 4, 16).to(dtype)
    out = heed.torch.attention(*mine, **masks)
    (out * weight).sum().backward()
    reference = by_sdpa(*theirs, **masks)
    (reference * weight).sum().backward()
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(out, reference, atol=tolerance, rtol=0)
    for a, b in zip(mine, theirs):
        assert a.grad.isfinite().all()
        torch.testing.assert_close(a.grad, b.grad, atol=tolerance, rtol=0)


def test_gradients_of_rows_that_see_nothing(tensors):
    mine = [x.requires_grad_() for x in tensors()]
    out = heed.torch.attention(*mine, causal=True, causal_offset=-4)
    out.sum().backward()
    assert all(x.grad.isfinite().all() for x in mine)
    assert (mine[0].grad[:, :4] == 0).all() and (mine[0].grad[:, 6:] != 0).any()


@pytest.mark.parametrize("shape", [(4,), (2, 4), (1,), (2, 1)])
def test_gradients_of_sinks(tensors, shape):
    mine = [x.requires_grad_() for x in tensors()]
    sinks = torch.randn(shape).requires_grad_()
    heed.torch.attention(
        *mine, sink_logits=sinks, causal=True
    ).square().sum().backward()
    got = [x.grad.clone() for x in (*mine, sinks)]
    for x in (*mine, sinks):
        x.grad = None
    q, k, v = (x.transpose(1, 2) for x in mine)
    score = q @ k.repeat_interleave(2, 1).mT / 4
    score = score.masked_fill(~torch.ones(21, 21).tril().bool(), -torch.inf)
    extra = sinks[..., None, None].expand(2, 4, 21, 1)
    weight = torch.cat([score, extra], -1).softmax(-1)[..., :-1]
    (weight @ v.repeat_interleave(2, 1)).square().sum().backward()
    for a, b in zip(got, (*mine, sinks)):
        torch.testing.assert_close(a, b.grad, atol=2e-5, rtol=0)


@pytest.mark.parametrize("batch, keys", [(2, 0), (0, 21)])
def test_gradients_of_nothing(tensors, batch, keys):
    mine = [x.requires_grad_() for x in tensors(batch=batch, keys=keys)]
    heed.torch.attention(*mine).sum().backward()
    assert all((x.grad == 0).all() for x in mine)


def test_gradients_by_one_slope(tensors):
    right = [x.requires_grad_() for x in tensors()]
    heed.torch.attention(*right, alibi_slopes=torch.full((4,), 0.3)).sum().backward()
    other = [x.requires_grad_() for x in tensors()]
    heed.torch.attention(*other, alibi_slopes=torch.full((1,), 0.3)).sum().backward()
    assert all((a.grad == b.grad).all() for a, b in zip(other, right))


@pytest.mark.parametrize("layout", ["bhsd", "thd"])
def test_gradients_in_other_layouts(tensors, layout):
    q, k, v = tensors(batch=1)
    right = [x.clone().requires_grad_() for x in (q, k, v)]
    heed.torch.attention(*right, causal=True).sin().sum().backward()

    def turn(x):
        return x[0] if layout == "thd" else x.transpose(1, 2)

    other = [turn(x).detach().clone().requires_grad_() for x in (q, k, v)]
    heed.torch.attention(*other, causal=True, layout=layout).sin().sum().backward()
    for a, b in zip(other, right):
        torch.testing.assert_close(a.grad, turn(b.grad), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "extra, words",
    [
        ({"softcap": 3.0}, "softcap"),
        ({"bias": torch.zeros(21, 21, requires_grad=True)}, "bias"),
        ({"alibi_slopes": torch.zeros(4, requires_grad=True)}, "alibi_slopes"),
    ],
)
def test_gradients_that_are_refused(tensors, extra, words):
    mine = [x.requires_grad_() for x in tensors()]
    out = heed.torch.attention(*mine, **extra)
    with pytest.raises(ValueError, match=words):
        out.sum().backward()


def operator(q, k, v, layout="bshd"):
    return (q, k, v, *[None] * 4, 0.0, True, -1, -1, 0.0, 0, -(2**63), layout, "fast")


@pytest.mark.parametrize("layout", ["bshd", "bhsd"])
@pytest.mark.parametrize("needs", [False, True])
def test_opcheck(tensors, layout, needs):
    q, k, v = tensors(heads=4, kv_heads=4)
    q, k, v = (x.requires_grad_(needs) for x in (q, k, v))
    torch.library.opcheck(torch.ops.heed.attention.default, operator(q, k, v, layout))


def test_compiles_whole(tensors):
    q, k, v = tensors()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def model(q, k, v):
        return heed.torch.attention(q * 2, k, v, causal=True).relu()

    mine = [x.clone().requires_grad_() for x in (q, k, v)]
    out = model(*mine)
    assert (out == heed.torch.attention(q * 2, k, v, causal=True).relu()).all()
    out.sum().backward()
    assert mine[1].grad.abs().sum() > 0


SDPA_CASES = {
    "plain": ((2, 4, 9, 16), (2, 4, 13, 16), {}),
    "causal": ((2, 4, 9, 16), (2, 4, 13, 16), {"is_causal": True}),
    "three": ((4, 9, 16), (4, 13, 16), {"scale": 0.2}),
    "two": ((9, 16), (13, 16), {}),
    "five": ((2, 3, 4, 9, 16), (2, 3, 4, 13, 16), {"attn_mask": (2, 3, 1, 9, 13)}),
    "gqa": ((2, 4, 9, 16), (2, 2, 13, 16), {"enable_gqa": True}),
    "spread": ((2, 4, 9, 16), (1, 4, 13, 16), {"attn_mask": (9, 13)}),
    "added": ((2, 4, 9, 16), (2, 4, 13, 16), {"attn_mask": (4, 1, 13), "added": True}),
}


@pytest.mark.parametrize("name", SDPA_CASES)
def test_sdpa(name):
    torch.manual_seed(5)
    q, k, extra = SDPA_CASES[name]
    extra = dict(extra)
    q, k, v = torch.randn(q), torch.randn(k), torch.randn(k)
    if "attn_mask" in extra:
        mask = torch.randn(extra["attn_mask"])
        extra["attn_mask"] = mask if extra.pop("added", False) else mask > -1.2
    want = sdpa(q, k, v, **extra)
    got = heed.torch.scaled_dot_product_attention(q, k, v, **extra)
    torch.testing.assert_close(got, want, atol=4e-6, rtol=0)


def test_sdpa_of_what_stands_otherwise():
    torch.manual_seed(5)
    q, k = torch.randn(2, 4, 9, 16), torch.randn(2, 4, 13, 16)
    v, mask = torch.randn(2, 1, 13, 16), torch.randn(13, 9).t()
    for m in (None, mask, mask > -1.2):
        got = heed.torch.scaled_dot_product_attention(q, k, v, m)
        torch.testing.assert_close(got, sdpa(q, k, v, m), atol=4e-6, rtol=0)
    with pytest.raises(ValueError, match="scale: 0 is not served"):
        heed.torch.scaled_dot_product_attention(q, k, v, scale=0.0)


def test_replace_sdpa_passes_on():
    torch.manual_seed(5)
    q, k, v = (torch.randn(1, 2, 5, d) for d in (8, 8, 6))
    with heed.torch.replace_sdpa() as counts:
        functional = torch.nn.functional.scaled_dot_product_attention
        functional(q, k, v.requires_grad_()).sum().backward()
        assert (functional(q, k, v, scale=0.0) == sdpa(q, k, v, scale=0.0)).all()
        assert counts.passed_on == 2 and counts.served == 0
        functional(q, k, v.detach())
        assert counts.served == 1


def test_replace_sdpa():
    torch.manual_seed(5)
    layer = torch.nn.TransformerEncoderLayer(32, 4, batch_first=True).train()
    layer.self_attn.dropout = 0.0
    for module in layer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    x = torch.randn(2, 9, 32)
    want = layer(x)
    with heed.torch.replace_sdpa() as counts:
        torch.testing.assert_close(layer(x), want, atol=1e-5, rtol=0)
        assert counts.served == 1
        functional = torch.nn.functional.scaled_dot_product_attention
        functional(*[torch.randn(1, 2, 3, 4, dtype=torch.float64)] * 3)
        assert counts.passed_on == 1
    with (
        heed.torch.replace_sdpa(strict=True),
        pytest.raises(ValueError, match="dropout"),
    ):
        torch.nn.functional.scaled_dot_product_attention(
            *[torch.randn(1, 2, 3, 4)] * 3, dropout_p=0.5
        )
    assert torch.nn.functional.scaled_dot_product_attention is sdpa


class Attended(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        x = torch.full((1, 300, 4, 32), float(i))
        return heed.attention(x, x, x)[0, 0, 0, 0]


def test_workers_of_a_loader(tensors):
    heed.attention(*tensors(rows=300, keys=300))  # torch's team runs before the fork
    loader = torch.utils.data.DataLoader(
        Attended(), num_workers=2, multiprocessing_context="fork", timeout=60
    )
    assert [float(x) for x in loader] == pytest.approx([0, 1, 2, 3], abs=1e-4)


def test_a_forked_child_after_torch(tensors):
    q, k, v = tensors(rows=300, keys=300)
    right = heed.attention(q, k, v)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if np.array_equal(heed.attention(q, k, v), right) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
