# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Every sparse variant as transformers calls it, with padding and without.

Skipped where torch or transformers is not installed.
"""

import types

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import heed  # noqa: E402
import heed.hf  # noqa: E402

TOKENS, LENGTHS = 41, (41, 30, 17)
# By which a variant leaves out pairs of so short a text, whichever has such a knob.
KNOBS = {
    "block": 4,
    "block_size": 4,
    "bucket_size": 32,
    "cache": 8,
    "capacity": 8,
    "cdfthreshd": 0.3,
    "compress_block": 4,
    "compress_stride": 2,
    "epsilon": 0.5,
    "gamma": 0.3,
    "heavy": 4,
    "heavy_const": 8,
    "index_topk": 6,
    "k": 8,
    "kernel": 3,
    "kernel_size": 4,
    "kernel_stride": 2,
    "key_block": 4,
    "last": 4,
    "last_q": 4,
    "length": 8,
    "local": 2,
    "min_budget": 4,
    "moba_chunk_size": 4,
    "n_hashes": 1,
    "n_init": 4,
    "n_local": 8,
    "page_size": 4,
    "prefix": 5,
    "prompt": 20,
    "query_block": 4,
    "recent": 4,
    "recent_size": 8,
    "select_block": 4,
    "select_count": 2,
    "share": 0.5,
    "simthreshd1": -1,
    "sink": 2,
    "sink_size": 2,
    "slash_size": 4,
    "start_size": 2,
    "stride": 4,
    "summary": 1,
    "tau": 0,
    "threshold": 0.5,
    "threshold_scale_factor": 1,
    "token_budget": 12,
    "topk": 2,
    "total_blocks": 3,
    "vertical_size": 4,
    "window": 6,
    "window_size": 6,
}
# A causal prefix, and what counts in more than 41 tokens.
WHOLE = {"prefix_lm", "routing", "vertical_slash"}
SPARSE = {
    v["name"]: [
        f"{knob['name']}={max(KNOBS[knob['name']], knob['min']):g}"
        for knob in v["knobs"]
        if knob["name"] in KNOBS
    ]
    for v in heed.variants()
    if v["semantics"] == "exact on selection" and v["causal"]
}
MODULE = types.SimpleNamespace(is_causal=True)


def inputs():
    """q [3, 4, s, d] and k, v [3, 2, s, d], long enough to be choosy."""
    generator = torch.Generator().manual_seed(5)
    heads = (4, 2, 2)
    q, k, v = (torch.randn(3, h, TOKENS, 8, generator=generator) for h in heads)
    return 3 * q, 3 * k, v


def attention(name):
    knobs = "&".join(SPARSE[name])
    return heed.hf._make_attention(heed.hf._policy_of(f"heed/{name}?{knobs}"))


def called(attend, q, k, v, padding=None):
    """[b, h, s, d] of the last rows of a text, as a model asks for them."""
    rows, keys = q.shape[2], k.shape[2]
    mask = heed.hf.make_mask(
        q.shape[0], rows, keys, q_offset=keys - rows, attention_mask=padding
    )
    assert isinstance(mask, heed.hf.Rule)  # no written-out mask
    return attend(MODULE, q, k, v, mask, scaling=0.3)[0].transpose(1, 2)


def test_there_are_many():
    assert len(SPARSE) >= 30 and WHOLE <= set(SPARSE)


@pytest.mark.parametrize("name", SPARSE)
def test_softmax_of_what_is_chosen(name):
    """Plain softmax in float64 over the pairs that the variant says it kept."""
    q, k, v = inputs()
    got = called(attention(name), q, k, v)
    spec = ":".join([name, *SPARSE[name]])
    given = {"softmax_scale": 0.3, "causal": True, "layout": "bhsd"}
    kept = torch.from_numpy(heed.run_variant(spec, q, k, v, **given).mask())
    seen = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
    assert not (kept & ~seen).any()
    assert (name in WHOLE) == bool((kept == seen).all())
    k, v = (x.double().repeat_interleave(2, 1) for x in (k, v))
    scores = (0.3 * q.double() @ k.transpose(2, 3)).masked_fill(~kept, -torch.inf)
    want = scores.softmax(-1).nan_to_num() @ v  # rows that keep nothing give 0
    torch.testing.assert_close(got.double(), want, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("side, rows", [("left", TOKENS), ("right", TOKENS), ("left", 1)])
@pytest.mark.parametrize("name", SPARSE)
def test_a_padded_sequence_has_the_bits_that_it_has_alone(name, side, rows):
    attend, (q, k, v) = attention(name), inputs()
    padding = torch.zeros(3, TOKENS, dtype=torch.long)
    places = []
    for b, n in enumerate(LENGTHS):
        begin = TOKENS - n if side == "left" else 0
        places.append(slice(begin, begin + n))
        padding[b, places[b]] = 1
    got = called(attend, q[:, :, -rows:], k, v, padding)
    assert rows == 1 or not got[2, :, padding[2] == 0].any()
    for b, place in enumerate(places):
        own = slice(-rows, None) if rows == 1 else place
        parts = (x[b : b + 1, :, place] for x in (k, v))
        alone = called(attend, q[b : b + 1, :, own], *parts)
        assert torch.equal(got[b : b + 1, :, slice(None) if rows == 1 else own], alone)
