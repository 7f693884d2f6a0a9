# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What goes into the attention of a Hugging Face model."""

from dataclasses import dataclass
from typing import Any, Dict, Iterable, Optional, Tuple

import torch

NAME = "heed_capture"


@dataclass
class CapturedLayer:
    """What went into one layer's attention, and what came out.

    query: [seqlen, heads, head_dim] and key: [seqlen, kv_heads, head_dim], as
        attention gets them: turned by RoPE where the model does that, not scaled.
    value: [seqlen, kv_heads, head_dim_v]; out: [seqlen, heads, head_dim_v].
    softmax_scale, window_size, softcap: as in heed.attention(), with causal=True.
    """

    query: Any
    key: Any
    value: Any
    out: Any
    softmax_scale: float
    window_size: Tuple[int, int]
    softcap: float


@dataclass
class Captured:
    """What capture() returns: layers, by their number, and the model's logits."""

    layers: Dict[int, CapturedLayer]
    logits: Any


def described(module, layer, query, key, attention_mask, more):
    """What heed.attention() takes beside a layer's queries, keys and values, a dict.

    The layout is bhsd, causal is True; more: what else the model passes. Raises
    ValueError where these do not say it all, and for what is not causal.
    """
    from heed import hf

    rule, mask, bias = hf._rule_of(
        module,
        query,
        key,
        attention_mask,
        more.get("sliding_window"),
        more.get("is_causal"),
    )
    if query.shape[2] != key.shape[2] or rule.offset != 0:
        raise ValueError(
            f"layer {layer}: attends to other tokens than its own: the model "
            "is no causal one"
        )
    for name, given in (
        ("a mask of its own", mask),
        ("a bias", bias),
        ("a position bias", more.get("position_bias")),
        ("learned sinks", more.get("s_aux")),
        ("padding", rule.ranges),
    ):
        if given is not None:
            raise ValueError(
                f"layer {layer}: has {name}, which queries, keys and values do not say"
            )
    if not rule.causal:
        raise ValueError(
            f"layer {layer}: sees tokens ahead: the model is no causal one"
        )
    scale = more.get("scaling")
    return {
        "softmax_scale": query.shape[-1] ** -0.5 if scale is None else float(scale),
        "causal": True,
        "window_size": rule.window,
        "softcap": float(more.get("softcap") or 0.0),
        "causal_offset": 0,
        "layout": "bhsd",
    }


class _Recorder:
    """The attention that a model runs on while it is captured: exact, by heed."""

    def __init__(self):
        from heed import hf

        self._attend = hf._make_attention(hf._Policy())
        self.wanted: Iterable[int] = ()
        self.taken: Dict[int, CapturedLayer] = {}

    def __call__(self, module, query, key, value, attention_mask=None, **more):
        out, _ = self._attend(module, query, key, value, attention_mask, **more)
        layer = getattr(module, "layer_idx", None)
        if layer in self.wanted:
            said = described(module, layer, query, key, attention_mask, more)
            self.taken[layer] = CapturedLayer(
                *(x[0].transpose(0, 1).clone() for x in (query, key, value)),
                out=out[0].clone(),
                softmax_scale=said["softmax_scale"],
                window_size=said["window_size"],
                softcap=said["softcap"],
            )
        return out, None


_recorder: Optional[_Recorder] = None


def register():
    """Registers the attention under NAME, and returns it."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    from heed._hf_masks import make_mask

    global _recorder
    if _recorder is None:
        _recorder = _Recorder()
        AttentionInterface.register(NAME, _recorder)
        AttentionMaskInterface.register(NAME, make_mask)
    return _recorder


@torch.no_grad()
def capture(model, tokens, layers) -> Captured:
    """Runs a causal model once and returns what its attention computed with.

    model: of transformers, on the CPU; exact attention by heed runs in it. It is
        left as it was.
    tokens: int64 [1, seqlen]. layers: their numbers, from 0.

    Raises ValueError for layers without attention, for a model that is not
    causal, and where queries, keys, values and a window do not say it all:
    biases, learned sinks, masks of its own. Not for several threads at once.
    """
    if tokens.dim() != 2 or tokens.shape[0] != 1:
        raise ValueError(f"tokens: needs [1, seqlen], got {list(tokens.shape)}")
    recorder = register()
    before, learning = model.config._attn_implementation, model.training
    recorder.wanted, recorder.taken = frozenset(layers), {}
    try:
        model.set_attn_implementation(NAME)
        logits = model.eval()(tokens, use_cache=False).logits
        taken = recorder.taken
    finally:
        recorder.wanted, recorder.taken = (), {}
        model.set_attn_implementation(before)
        model.train(learning)
    missing = sorted(set(layers) - set(taken))
    if missing:
        raise ValueError(f"layer {missing[0]}: the model has no attention there")
    return Captured(dict(sorted(taken.items())), logits)
