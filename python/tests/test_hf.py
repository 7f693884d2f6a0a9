# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed.hf against eager attention, on small models with random weights.

Skipped where torch or transformers is not installed.
"""

import importlib.util

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import heed.hf  # noqa: E402
from heed._hf_masks import make_mask  # noqa: E402

heed.hf.register()

SMALL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def configuration(kind):
    if kind == "llama":
        return transformers.LlamaConfig(**SMALL)
    if kind == "gemma2":  # softcap, and windows in every other layer
        return transformers.Gemma2Config(
            **SMALL,
            sliding_window=7,
            query_pre_attn_scalar=8,
            attn_logit_softcapping=2.0,
        )
    if kind == "gpt_oss":  # sinks, and windows in every other layer
        return transformers.GptOssConfig(
            **SMALL, sliding_window=7, num_local_experts=2, num_experts_per_tok=1
        )
    return transformers.MistralConfig(**SMALL, sliding_window=9)


def models(kind, other="heed", against="eager"):
    torch.manual_seed(11)
    make = transformers.AutoModelForCausalLM.from_config
    # A config each: the name of the attention stands in it.
    one = make(configuration(kind), attn_implementation=against).eval()
    two = make(configuration(kind), attn_implementation=other).eval()
    for parameter in one.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    two.load_state_dict(one.state_dict())
    assert one.config._attn_implementation == against
    assert two.config._attn_implementation == other
    return one, two


def tokens(batch, length):
    torch.manual_seed(13)
    return torch.randint(3, 60, (batch, length))


KINDS = ["llama", "gemma2", "gpt_oss", "mistral"]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_logits(kind):
    eager, mine = models(kind)
    ids = tokens(2, 31)
    want, got = eager(ids).logits, mine(ids).logits
    torch.testing.assert_close(got, want, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_padded_batches(kind, side):
    eager, mine = models(kind)
    ids = tokens(3, 23)
    mask = torch.ones_like(ids)
    for b, pad in enumerate((0, 9, 14)):
        mask[b, slice(0, pad) if side == "left" else slice(23 - pad, 23)] = 0
    position = (mask.cumsum(1) - 1).clamp(min=0)
    given = {"attention_mask": mask, "position_ids": position}
    want, got = eager(ids, **given).logits, mine(ids, **given).logits
    torch.testing.assert_close(got[mask == 1], want[mask == 1], atol=2e-4, rtol=1e-4)


# Caches of transformers; its quantised one needs a package that heed has no use for.
CACHES = ["dynamic", "static"]
if importlib.util.find_spec("optimum") and importlib.util.find_spec("optimum.quanto"):
    CACHES.append("quantized")


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_generate(kind, cache):
    eager, mine = models(kind)
    ids = tokens(2, 12)
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    given = {
        "attention_mask": mask,
        "max_new_tokens": 12,
        "do_sample": False,
        "cache_implementation": cache,
        "eos_token_id": None,
    }
    assert torch.equal(mine.generate(ids, **given), eager.generate(ids, **given))


@torch.no_grad()
def test_chunks_of_a_prompt_are_the_prompt():
    _, mine = models("llama")
    ids = tokens(1, 40)
    whole = mine(ids).logits
    for static in (False, True):
        cache = transformers.DynamicCache(config=mine.config)
        if static:
            cache = transformers.StaticCache(config=mine.config, max_cache_len=64)
        parts = []
        for begin, end in ((0, 17), (17, 18), (18, 40)):
            position = torch.arange(begin, end)[None]
            part = mine(ids[:, begin:end], past_key_values=cache, position_ids=position)
            parts.append(part.logits)
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-5, rtol=1e-5)


def attend(q, k, v, mask, **more):
    module = torch.nn.Module()
    return heed.hf._make_attention(heed.hf._Policy())(module, q, k, v, mask, **more)[0]


@torch.no_grad()
def test_a_padded_sequence_has_the_bits_that_it_has_alone():
    torch.manual_seed(17)
    q, k, v = (
        torch.randn(2, 4, 30, 16),
        torch.randn(2, 2, 30, 16),
        torch.randn(2, 2, 30, 16),
    )
    padding = torch.ones(2, 30)
    padding[1, :11] = 0
    mask = make_mask(2, 30, 30, attention_mask=padding)
    both = attend(q, k, v, mask)
    alone = attend(*(x[1:, :, 11:] for x in (q, k, v)), make_mask(1, 19, 19))
    assert torch.equal(both[1:, 11:], alone)
    assert torch.equal(both[:1], attend(q[:1], k[:1], v[:1], make_mask(1, 30, 30)))


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2])
def test_a_position_bias_of_padded_sequences(batch):
    torch.manual_seed(17)
    q, k = torch.randn(2, 4, 12, 16), torch.randn(2, 2, 12, 16)
    bias = torch.randn(batch, 4, 12, 12)
    padding = torch.ones(2, 12)
    padding[1, :5] = 0
    rule = make_mask(2, 12, 12, attention_mask=padding)
    seen = torch.ones(12, 12).tril().bool() & (padding.bool()[:, None, None])
    got = attend(q, k, k, rule, position_bias=bias)
    want = attend(q, k, k, seen, position_bias=bias)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_written_mask():
    eager, mine = models("llama")
    ids = tokens(2, 20)
    mask = torch.ones_like(ids)
    mask[0, 5:9] = 0  # a hole: no single range of keys
    want = eager(ids, attention_mask=mask).logits
    got = mine(ids, attention_mask=mask).logits
    torch.testing.assert_close(got, want, atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_an_encoder():
    torch.manual_seed(19)
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
    )
    eager = transformers.BertModel._from_config(
        config, attn_implementation="eager"
    ).eval()
    mine = transformers.BertModel._from_config(
        config, attn_implementation="heed"
    ).eval()
    mine.load_state_dict(eager.state_dict())
    ids = tokens(2, 15)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    want = eager(ids, attention_mask=mask).last_hidden_state
    got = mine(ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(got[mask == 1], want[mask == 1], atol=1e-4, rtol=1e-4)


def test_training():
    eager, mine = models("llama", against="sdpa")
    ids = tokens(2, 24)
    for model in (eager, mine):
        model.train()
        model(ids, labels=ids).loss.backward()
    for a, b in zip(eager.parameters(), mine.parameters()):
        torch.testing.assert_close(a.grad, b.grad, atol=2e-5, rtol=2e-4)


@torch.no_grad()
def test_bfloat16():
    eager, mine = (model.to(torch.bfloat16) for model in models("llama"))
    ids = tokens(2, 31)
    want, got = eager(ids).logits.float(), mine(ids).logits.float()
    assert (got - want).norm() < 0.05 * want.norm()


@torch.no_grad()
def test_variants_are_implementations():
    ids = tokens(2, 40)
    exact, wide = models("llama", "heed/window_sink?window=64", "heed")
    torch.testing.assert_close(
        wide(ids).logits, exact(ids).logits, atol=2e-5, rtol=1e-5
    )
    # A window is what a model with one computes.
    torch.manual_seed(11)
    mistral, _ = models("mistral", "heed")
    _, windowed = models("llama", "heed/window_sink?window=9&sink=0")
    windowed.load_state_dict(mistral.state_dict())
    torch.testing.assert_close(
        windowed(ids).logits, mistral(ids).logits, atol=2e-4, rtol=1e-4
    )
    given = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    mask = torch.ones_like(ids)
    mask[1, :7] = 0
    assert torch.equal(
        windowed.generate(ids, attention_mask=mask, **given),
        mistral.generate(ids, attention_mask=mask, **given),
    )


def test_policies():
    def of(name):
        policy = heed.hf._policy_of(name)
        return policy.prefill, policy.decode

    assert of("heed") == (None, None)
    assert of("heed/exact") == (None, None)
    prefill, decode = of("heed/window_sink?window=8&decode=exact")
    assert prefill.startswith("window_sink:window=8") and decode is None
    prefill, decode = of("heed/quest?prefill=exact&token_budget=32&page_size=8")
    assert prefill is None and decode.startswith("quest:")
    ahead = next(v["name"] for v in heed.variants() if v["selects_ahead"])
    assert of("heed/" + ahead)[1] is None


@torch.no_grad()
def test_what_is_refused():
    _, mine = models("llama")
    ids = tokens(1, 9)
    q, k = torch.randn(1, 4, 9, 16), torch.randn(1, 2, 9, 16)
    for more, words in (
        ({"dropout": 0.1}, "dropout"),
        ({"output_attentions": True}, "output_attentions"),
        ({"head_mask": torch.ones(4)}, "head_mask"),
    ):
        with pytest.raises(ValueError, match=words):
            attend(q, k, k, None, **more)
    with pytest.raises(ValueError, match="4 axes"):
        attend(q, k, k, torch.ones(9, 9))
    with pytest.raises(ValueError, match="no rule"):
        attend(q, k, k, make_mask(1, 9, 9).clone()[:, :, 1:])
    with pytest.raises(ValueError, match="quests.*quest"):
        mine.set_attn_implementation("heed/quests")
    with pytest.raises(ValueError, match="no knob"):
        heed.hf.register("heed/window_sink?width=3")
    with pytest.raises(ValueError, match="needs to be 'heed'"):
        heed.hf.register("sdpa")
    assert mine(ids).logits.isfinite().all()
