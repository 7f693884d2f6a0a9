# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed for Hugging Face transformers.

    import heed.hf
    heed.hf.register()
    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="heed")

Exact attention under any model that has attention interfaces, or a variant:

    attn_implementation="heed/window_sink?window=256&sink=4"
    attn_implementation="heed/quest?token_budget=512&prefill=exact"

NAME?knob=value&... is the variant of prompts and of decoding (one query row).
prefill=SPEC and decode=SPEC set the one or the other to another variant, as
run_variant() names it, such as exact or window_sink:window=64. A variant whose
choice depends on keys ahead decodes by exact, unless decode says otherwise.
Variants compute in float32.

Masks do not become tensors where they are causal, full or windows, and padding
leaves each sequence one range of keys: a padded sequence then has the bits that
it has alone.
"""

import urllib.parse

import torch

from heed import _heed, torch as _torch
from heed._hf_capture import Captured, CapturedLayer, capture
from heed._hf_lent import Lent, cut
from heed._hf_masks import Described, Rule, make_mask
from heed._quantized import lend
from heed._torch_ops import bare

__all__ = ["Captured", "CapturedLayer", "QuantizedCache", "capture", "register"]


def __getattr__(name):
    if name == "QuantizedCache":  # its base is transformers'
        from heed._hf_cache import QuantizedCache

        return QuantizedCache
    raise AttributeError(f"module 'heed.hf' has no attribute {name!r}")


# What models pass that says nothing about the result of attention here.
_IGNORED = {
    "batch_idx",
    "cache_position",
    "cu_seq_lens_k",
    "cu_seq_lens_q",
    "deterministic",
    "max_length_k",
    "max_length_q",
    "num_items_in_batch",
    "output_hidden_states",
    "output_router_logits",
    "past_key_values",
    "position_ids",
    "return_dict",
    "use_cache",
}


def _refuse_others(kwargs):
    for name, value in kwargs.items():
        if name == "output_attentions" and value:
            raise ValueError("output_attentions: heed never forms the weights")
        if name in _IGNORED or value is None or value is False:
            continue
        raise ValueError(
            f"{name}: is an argument of attention that heed does not serve"
        )


class _Policy:
    """Which variant computes a call: None is exact attention, of any dtype.

    inputs: what the variant takes beside q, k and v, by name; none are drawn.
    """

    def __init__(self, prefill=None, decode=None, inputs=None):
        self.prefill = prefill
        self.decode = decode
        self.inputs = inputs or {}

    def run(self, q, k, v, out, rule_arguments, more):
        """Writes out. All are [b, h, s, d]."""
        spec = self.decode if q.shape[2] == 1 else self.prefill
        if spec is None:
            _exact(q, k, v, out, rule_arguments, more)
            return
        for name, value in more.items():
            if value is not None:
                raise ValueError(f"{name}: the variant {spec} does not serve it")
        if not isinstance(k, torch.Tensor):
            raise ValueError(f"QuantizedCache: the variant {spec} does not serve it")
        scale, causal, window, softcap, offset = rule_arguments
        narrow = out.dtype != torch.float32
        given = _heed.run_variant(
            spec,
            q.float(),
            k.float(),
            v.float(),
            scale,
            causal,
            window,
            softcap,
            0,
            offset,
            self.inputs,
            None if narrow else out,
            False,
            "bhsd",
        )
        if narrow:
            out.copy_(given["out"])


def _exact(q, k, v, out, rule_arguments, more):
    scale, causal, window, softcap, offset = rule_arguments
    _heed.attend(
        q,
        lend(k),
        lend(v),
        scale,
        causal,
        window,
        softcap,
        0,
        offset,
        more.get("bias"),
        more.get("mask"),
        None,
        more.get("s_aux"),
        None,
        None,
        None,
        None,
        out,
        False,
        "bhsd",
        "fast",
    )


def _rule_of(module, query, key, attention_mask, sliding_window, is_causal):
    """(rule, mask, bias): the rule, and what is not one."""
    rows, keys = query.shape[2], key.shape[2]
    if isinstance(attention_mask, Rule):
        if attention_mask.rule is None:
            raise ValueError(
                "attention_mask: was changed on its way to attention, and is no "
                "rule any more"
            )
        return attention_mask.rule, None, None
    if attention_mask is not None:
        if attention_mask.dim() != 4:
            raise ValueError(
                f"attention_mask: needs 4 axes, got {attention_mask.dim()}"
            )
        attention_mask = attention_mask[..., :keys]
        everything = Described(False, (-1, -1), keys - rows, None)
        if attention_mask.dtype == torch.bool:
            return everything, attention_mask, None
        return everything, None, attention_mask
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)
    # As sdpa: without a mask, a single row sees all keys, and several stand at
    # the beginning of a cache.
    causal = bool(is_causal) and rows > 1
    left = sliding_window - 1 if sliding_window and causal else -1
    return (
        Described(causal, (left, -1), 0 if causal else keys - rows, None),
        None,
        None,
    )


def _part(bias, b, first, last, begin, end):
    """Of a bias [batch or 1, heads, rows or 1, keys], a sequence's rows and keys."""
    if bias is None:
        return None
    part = (bias[b : b + 1] if bias.shape[0] > 1 else bias)[..., begin:end]
    return part[:, :, first:last] if bias.shape[2] > 1 else part


def _make_attention(policy):
    def heed_attention(
        module,
        query,
        key,
        value,
        attention_mask=None,
        dropout=0.0,
        scaling=None,
        is_causal=None,
        sliding_window=None,
        softcap=None,
        s_aux=None,
        position_bias=None,
        **kwargs,
    ):
        if dropout:
            raise ValueError(f"dropout: is not served, got {dropout}")
        _refuse_others(kwargs)
        rule, mask, bias = _rule_of(
            module, query, key, attention_mask, sliding_window, is_causal
        )
        if position_bias is not None:
            position_bias = position_bias[..., : key.shape[2]]
            bias = position_bias if bias is None else bias + position_bias
        more = {"bias": bias, "mask": mask, "s_aux": s_aux}
        if s_aux is not None:
            more["s_aux"] = s_aux.reshape(-1).float()
        if query.shape[-1] > 1 and query.stride(-1) != 1:
            query = query.contiguous()
        quantised = isinstance(key, Lent)
        if not quantised:
            key, value = (
                x if x.stride(-1) == 1 or x.shape[-1] < 2 else x.contiguous()
                for x in (key, value)
            )
        scale = None if scaling is None else float(scaling)
        cap = float(softcap or 0.0)
        learns = torch.is_grad_enabled() and any(
            x is not None and x.requires_grad for x in (query, key, value, s_aux, bias)
        )
        if learns or torch.compiler.is_compiling():
            if quantised:
                raise ValueError("QuantizedCache: has no gradients, and no compiler")
            if policy.prefill is not None or policy.decode is not None:
                raise ValueError("variants have no gradients, and are not compiled")
            ranges = rule.ranges
            if ranges is not None:
                at = torch.arange(key.shape[2])
                more["mask"] = torch.stack(
                    [(at >= begin) & (at < end) for begin, end in ranges]
                )[:, None, None]
            out = _torch.attention(
                query,
                key,
                value,
                softmax_scale=scale,
                causal=rule.causal,
                window_size=rule.window,
                softcap=cap,
                causal_offset=rule.offset,
                bias=more["bias"],
                mask=more["mask"],
                sink_logits=more["s_aux"],
                layout="bhsd",
            )
            return out.transpose(1, 2).contiguous(), None

        query = bare(query)
        batch, heads, rows, _ = query.shape
        more = {name: bare(x) for name, x in more.items()}
        # Where padding is left out, its rows are 0; all others are written.
        make = query.new_empty if rule.ranges is None else query.new_zeros
        out = make((batch, rows, heads, value.shape[-1]))
        key, value = (x.rows if quantised else bare(x) for x in (key, value))
        turned = out.transpose(1, 2)
        if rule.ranges is None:
            arguments = (scale, rule.causal, rule.window, cap, rule.offset)
            policy.run(query, key, value, turned, arguments, more)
            return out, None
        for b, (begin, end) in enumerate(rule.ranges):
            first, last = 0, rows
            if rule.causal:
                # Rows of padding stay 0: variants that choose for several rows
                # at once must not ask them, nor count blocks from them.
                first = min(max(begin - rule.offset, 0), rows)
                last = max(min(end - rule.offset, rows), first)
            if first == last:
                continue
            offset = rule.offset + first - begin
            policy.run(
                query[b : b + 1, :, first:last],
                *(
                    cut(x, slice(b, b + 1), begin, end)
                    if quantised
                    else x[b : b + 1, :, begin:end]
                    for x in (key, value)
                ),
                turned[b : b + 1, :, first:last],
                (scale, rule.causal, rule.window, cap, offset),
                {**more, "bias": _part(more["bias"], b, first, last, begin, end)},
            )
        return out, None

    return heed_attention


def _policy_of(name):
    """The policy that a name such as heed/quest?token_budget=64 says."""
    if name == "heed":
        return _Policy()
    variant, _, query = name[len("heed/") :].partition("?")
    policies, knobs = {}, []
    for key, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
        if key in ("prefill", "decode"):
            policies[key] = value
        else:
            knobs.append(f":{key}={value}")
    try:
        spec = _heed.format_spec(variant + "".join(knobs))
        ahead = next(
            v["selects_ahead"] for v in _heed.variants() if v["name"] == variant
        )
        policies.setdefault("prefill", spec)
        policies.setdefault("decode", "exact" if ahead else spec)
        checked = {key: _heed.format_spec(value) for key, value in policies.items()}
    except ValueError as error:
        raise ValueError(f"attn_implementation='{name}': {error}") from None
    return _Policy(
        **{key: None if spec == "exact" else spec for key, spec in checked.items()}
    )


def _add(name):
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(name, _make_attention(_policy_of(name)))
    AttentionMaskInterface.register(name, make_mask)


def _take_names_of_variants():
    """Lets models name variants that nobody registered, as heed/NAME.

    transformers takes a name with a slash for one on a hub of kernels.
    """
    from transformers import modeling_utils

    before = getattr(modeling_utils, "is_kernel", None)
    if before is None or getattr(before, "of_heed", False):
        return

    def is_kernel(name):
        if isinstance(name, str) and name.startswith("heed/"):
            _add(name)
            return False
        return before(name)

    is_kernel.of_heed = True
    modeling_utils.is_kernel = is_kernel


def register(*names):
    """Registers attn_implementation="heed", and further names "heed/VARIANT?...".

    Such names may also be used without being registered here. Each attention
    argument that models pass is used (windows, softcap, sinks, position biases,
    scaling, masks) or refused: dropout, output_attentions and unknown ones raise
    ValueError in forward. Raises ValueError for a variant or a knob that does
    not exist.
    """
    _take_names_of_variants()
    for name in ("heed", *names):
        if name != "heed" and not name.startswith("heed/"):
            raise ValueError(f"{name!r}: needs to be 'heed' or 'heed/VARIANT?...'")
        _add(name)
