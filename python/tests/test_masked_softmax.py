# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Sparse variants under a model, against masks and softmax in plain PyTorch.

Skipped where torch or transformers is not installed.
"""

import copy

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import heed.hf  # noqa: E402

heed.hf.register()


def seen(rows, keys):
    """Positions of rows and keys, and which keys a causal row sees."""
    at = torch.arange(keys - rows, keys)[:, None]
    key = torch.arange(keys)[None]
    return at, key, key <= at


def window_sink(q, k, scale, window, sink):
    at, key, causal = seen(q.shape[2], k.shape[2])
    return causal & ((at - key < window) | (key < sink))


def dilated(q, k, scale, window, dilation):
    at, key, causal = seen(q.shape[2], k.shape[2])
    return causal & (at - key < window * dilation) & ((at - key) % dilation == 0)


def quest(q, k, scale, token_budget, page_size):
    """By row: the first page, its own, and those of the largest bounds."""
    at, key, causal = seen(q.shape[2], k.shape[2])
    keep = torch.zeros(*q.shape[:3], k.shape[2], dtype=torch.bool)
    pages = token_budget // page_size
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i, p in enumerate(at[:, 0].tolist()):
                own = p // page_size
                bounds = []
                for page in range(1, own):
                    part = k[b, h, page * page_size : (page + 1) * page_size]
                    least, most = part.min(0).values, part.max(0).values
                    row = scale * q[b, h, i]
                    bounds.append((-torch.maximum(row * least, row * most).sum(), page))
                chosen = {0, own} | {page for _, page in sorted(bounds)[: pages - 2]}
                for page in chosen:
                    keep[b, h, i, page * page_size : (page + 1) * page_size] = True
    return keep & causal


def block_topk(q, k, scale, block, total_blocks):
    """By block of rows: the first block, its own, and the largest means."""
    _, _, causal = seen(q.shape[2], k.shape[2])
    assert q.shape[2] == k.shape[2]
    keep = torch.zeros(*q.shape[:3], k.shape[2], dtype=torch.bool)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for own in range((q.shape[2] + block - 1) // block):
                rows = slice(own * block, (own + 1) * block)
                mean = q[b, h, rows].mean(0)
                found = []
                for j in range(1, own):
                    score = scale * mean @ k[b, h, j * block : (j + 1) * block].mean(0)
                    found.append((-score, j))
                for j in {0, own} | {j for _, j in sorted(found)[: total_blocks - 2]}:
                    keep[b, h, rows, j * block : (j + 1) * block] = True
    return keep & causal


CASES = {
    "window_sink:window=9:sink=2": (window_sink, {"window": 9, "sink": 2}),
    "dilated:window=5:dilation=3": (dilated, {"window": 5, "dilation": 3}),
    "quest:token_budget=12:page_size=4": (
        quest,
        {"token_budget": 12, "page_size": 4},
    ),
    "block_topk:block=4:total_blocks=3": (
        block_topk,
        {"block": 4, "total_blocks": 3},
    ),
}
DECODES = [spec for spec in CASES if not spec.startswith("block_topk")]
_current = {}


def reference(module, query, key, value, attention_mask, scaling=None, **_):
    """Softmax of the pairs that a mask leaves, in float64."""
    group = query.shape[1] // key.shape[1]
    q, k, v = query.double(), key.double(), value.double()
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    scale = scaling or q.shape[-1] ** -0.5
    keep, knobs = _current["mask"]
    chosen = keep(query.float(), k.float(), scale, **knobs)
    _current["dropped"] = bool((~chosen & seen(q.shape[2], k.shape[2])[2]).any())
    scores = (q @ k.transpose(2, 3) * scale).masked_fill(~chosen, float("-inf"))
    return (scores.softmax(-1) @ v).float().transpose(1, 2).contiguous(), None


transformers.AttentionInterface.register("plain_reference", reference)
transformers.masking_utils.AttentionMaskInterface.register(
    "plain_reference", lambda *a, **k: None
)


def models(spec):
    """The same tiny model of 4 heads over 2, under the reference and under heed."""
    shape = transformers.LlamaConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
    )
    name, *knobs = spec.split(":")
    # Each has a config of its own, where the name of its attention stands.
    plain, mine = (
        transformers.AutoModelForCausalLM.from_config(
            copy.deepcopy(shape), attn_implementation=attention
        ).eval()
        for attention in ("plain_reference", f"heed/{name}?{'&'.join(knobs)}")
    )
    assert plain.config._attn_implementation == "plain_reference"
    torch.manual_seed(5)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    mine.load_state_dict(plain.state_dict())
    _current["mask"] = CASES[spec]
    return plain, mine


def tokens(*extents):
    torch.manual_seed(7)
    return torch.randint(3, 60, extents)


def close(got, want):
    torch.testing.assert_close(got, want, atol=3e-4, rtol=1e-4)


@pytest.mark.parametrize("spec", CASES)
@torch.no_grad()
def test_prompts(spec):
    plain, mine = models(spec)
    ids = tokens(2, 41)
    want = plain(ids).logits
    assert _current["dropped"]
    close(mine(ids).logits, want)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("spec", CASES)
@torch.no_grad()
def test_padded_batches(spec, side):
    plain, mine = models(spec)
    ids, lengths = tokens(3, 41), (41, 30, 17)
    mask = torch.zeros_like(ids)
    places = []
    for row, length in enumerate(lengths):
        place = slice(41 - length, 41) if side == "left" else slice(0, length)
        mask[row, place] = 1
        places.append(place)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    got = mine(ids * mask, attention_mask=mask, position_ids=positions).logits
    for row, place in enumerate(places):
        close(got[row, place], plain(ids[row : row + 1, place]).logits[0])


@pytest.mark.parametrize("spec", DECODES)
@torch.no_grad()
def test_decoding(spec):
    plain, mine = models(spec)
    ids = tokens(1, 40)
    first = [model(ids[:, :30], use_cache=True) for model in (plain, mine)]
    caches = [output.past_key_values for output in first]
    for i in range(30, 40):
        want, got = (
            model(ids[:, i : i + 1], past_key_values=cache, use_cache=True).logits
            for model, cache in zip((plain, mine), caches)
        )
        assert _current["dropped"]
        close(got, want)
