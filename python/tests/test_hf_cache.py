# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed.hf.QuantizedCache, on small models with random weights.

Skipped where torch or transformers is not installed.
"""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import heed  # noqa: E402
import heed.hf  # noqa: E402
from small_models import SMALL, model_of  # noqa: E402

heed.hf.register()
DTYPES = ["int8", "float8_e4m3", "float8_e5m2", "uint4"]


def model(implementation="heed"):
    config = transformers.LlamaConfig(**{**SMALL, "head_dim": 32})
    made = model_of(config)
    made.set_attn_implementation(implementation)
    return made


def tokens(batch, length):
    torch.manual_seed(13)
    return torch.randint(3, 60, (batch, length))


@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_attention_reads_what_was_quantised(dtype):
    torch.manual_seed(5)
    k, v = torch.randn(2, 2, 9, 32), torch.randn(2, 2, 9, 32)
    q = torch.randn(2, 4, 9, 32)
    cache = heed.hf.QuantizedCache(dtype)
    for begin, end in ((0, 4), (4, 9)):
        key, value = cache.update(k[:, :, begin:end], v[:, :, begin:end], 0)
    assert key.shape == (2, 2, 9, 32) and cache.get_seq_length() == 9
    attend = heed.hf._make_attention(heed.hf._Policy())
    got = attend(torch.nn.Module(), q, key, value)[0]
    rows = [heed.quantize_kv(x, dtype, layout="bhsd") for x in (k, v)]
    want = heed.attention(q, *rows, causal=True, layout="bhsd")
    assert torch.equal(got.transpose(1, 2), want)


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_chunks_are_the_prompt(dtype, rotate):
    mine, ids = model(), tokens(1, 70)
    exact = mine(ids).logits
    off = []
    for ends in ([70], [33, 34, 70]):
        cache, begin, parts = heed.hf.QuantizedCache(dtype, rotate=rotate), 0, []
        for end in ends:
            parts.append(mine(ids[:, begin:end], past_key_values=cache).logits)
            begin = end
        logits = torch.cat(parts, 1)
        off.append(float((logits - exact).norm() / exact.norm()))
        if len(ends) == 1:
            whole = logits
    assert 0 < off[0] < {"int8": 0.03, "uint4": 0.5}.get(dtype, 0.4)
    torch.testing.assert_close(logits, whole, atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_generate_with_padding_and_beams():
    mine, ids = model(), tokens(2, 12)
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    given = {
        "attention_mask": mask,
        "max_new_tokens": 8,
        "do_sample": False,
        "eos_token_id": None,
    }
    for more in ({}, {"num_beams": 2}):
        cache = heed.hf.QuantizedCache("int8")
        out = mine.generate(ids, past_key_values=cache, **given, **more)
        assert out.shape == (2, 20)
        assert cache.get_seq_length() >= 19
    alone = mine.generate(
        ids[1:, 5:],
        past_key_values=heed.hf.QuantizedCache("int8"),
        **{**given, "attention_mask": mask[1:, 5:]},
    )
    cache = heed.hf.QuantizedCache("int8")
    both = mine.generate(ids, past_key_values=cache, **given)
    assert torch.equal(both[1, 12:], alone[0, 7:])
    length = cache.get_seq_length()
    cache.crop(-4)
    assert cache.get_seq_length() == length - 4


@torch.no_grad()
def test_what_is_refused():
    ids = tokens(1, 9)
    with pytest.raises(TypeError, match="is for models under"):
        model("eager")(ids, past_key_values=heed.hf.QuantizedCache())
    with pytest.raises(TypeError, match="is for models under"):
        model("sdpa")(ids, past_key_values=heed.hf.QuantizedCache())
    with pytest.raises(ValueError, match="does not serve"):
        model("heed/window_sink?window=4")(
            ids, past_key_values=heed.hf.QuantizedCache()
        )
    with pytest.raises(ValueError, match="'int4' is not offered"):
        heed.hf.QuantizedCache("int4")
    with torch.enable_grad(), pytest.raises(ValueError, match="no gradients"):
        model()(ids, past_key_values=heed.hf.QuantizedCache())
