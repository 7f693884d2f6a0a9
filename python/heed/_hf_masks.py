# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The masks that transformers makes for heed: rules where they are rules."""

import torch


class Rule(torch.Tensor):
    """A mask that is a rule: an empty tensor [batch, 1, rows, 0] that carries it.

    Models hand masks from where they are made to attention, and may ask for
    their axes; so it must be a tensor. causal, window (left, right), offset (the
    position of row 0 among the keys), ranges ([begin, end) of the keys of each
    sequence, or None for all).
    """

    rule = None


class Described:
    def __init__(self, causal, window, offset, ranges):
        self.causal = causal
        self.window = window
        self.offset = offset
        self.ranges = ranges


def _closure(function, name):
    return dict(
        zip(
            function.__code__.co_freevars,
            (c.cell_contents for c in function.__closure__),
        )
    ).get(name)


def _recognise(function):
    """(causal, left, right) of a mask function of transformers', or None."""
    from transformers import masking_utils

    if function is masking_utils.causal_mask_function:
        return True, -1, -1
    if function is masking_utils.bidirectional_mask_function:
        return False, -1, -1
    if getattr(function, "__module__", None) != masking_utils.__name__:
        return None
    name = getattr(function, "__qualname__", "")
    if name == "sliding_window_overlay.<locals>.inner_mask":
        window = _closure(function, "sliding_window")
        return (False, window - 1, -1) if isinstance(window, int) else None
    if name == "sliding_window_bidirectional_overlay.<locals>.inner_mask":
        window = _closure(function, "sliding_window")
        return (False, window, window) if isinstance(window, int) else None
    if name != "and_masks.<locals>.and_mask":
        return None
    parts = [_recognise(part) for part in _closure(function, "mask_functions")]
    if None in parts:
        return None
    causal, left, right = False, -1, -1
    for part in parts:
        causal |= part[0]
        left = max(left, part[1]) if -1 in (left, part[1]) else min(left, part[1])
        right = max(right, part[2]) if -1 in (right, part[2]) else min(right, part[2])
    return causal, left, right


def _ranges(padding, kv_length, kv_offset):
    """[begin, end) of the keys that a 2-D mask leaves each sequence.

    None where it leaves all of them; False where it leaves some no single range.
    """
    if padding is None:
        return None
    seen = padding.bool()[:, kv_offset : kv_offset + kv_length]
    count = seen.sum(1)
    if seen.shape[1] == kv_length and int(count.min()) == kv_length:
        return None
    begin = seen.int().argmax(1)
    at = torch.arange(seen.shape[1])
    inside = (at >= begin[:, None]) & (at < (begin + count)[:, None])
    if not torch.equal(inside, seen):
        return False
    return list(zip(begin.tolist(), (begin + count).tolist()))


def make_mask(
    batch_size,
    q_length,
    kv_length,
    q_offset=0,
    kv_offset=0,
    mask_function=None,
    attention_mask=None,
    **kwargs,
):
    """A mask for attention: a Rule, or where there is none a written-out bool mask."""
    from transformers import masking_utils

    if mask_function is None:
        mask_function = masking_utils.causal_mask_function
    rule = None if torch.compiler.is_compiling() else _recognise(mask_function)
    ranges = False if rule is None else _ranges(attention_mask, kv_length, kv_offset)
    if ranges is False:
        kwargs.update(allow_is_causal_skip=False, allow_is_bidirectional_skip=False)
        return masking_utils.sdpa_mask(
            batch_size,
            q_length,
            kv_length,
            q_offset=q_offset,
            kv_offset=kv_offset,
            mask_function=mask_function,
            attention_mask=attention_mask,
            **kwargs,
        )
    causal, left, right = rule
    mask = torch.empty((batch_size, 1, q_length, 0), dtype=torch.bool).as_subclass(Rule)
    offset = int(q_offset) - int(kv_offset)
    mask.rule = Described(causal, (left, right), offset, ranges)
    return mask
