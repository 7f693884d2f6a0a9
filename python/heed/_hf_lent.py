# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Quantised keys and values on their way through a model to attention."""

import torch

from heed._quantized import Quantized

# What may be asked of keys and values on their way to attention.
_ASKED = {"__get__", "dim", "size", "stride", "ndimension"}


class Lent(torch.Tensor):
    """Keys or values on their way to attention: extents alone, and the rows.

    Without numbers, so that any other attention stops here.
    """

    rows: Quantized

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") not in _ASKED:
            raise TypeError(
                "heed.hf.QuantizedCache: is for models under "
                'attn_implementation="heed", whose attention reads it'
            )
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def lent(rows, like, head_dim):
    """Rows as a tensor of `like`'s dtype, which takes no memory."""
    extents = (*rows.codes.shape[:-1], head_dim)
    made = like.new_empty(1).expand(extents).as_subclass(Lent)
    made.rows = rows
    return made


def cut(rows, batch, begin, end):
    """Keys [begin, end) of the sequences of a slice; parts are [b, h, s, ...]."""
    return each(rows, lambda part: part[batch, :, begin:end])


def each(rows, change):
    """Rows whose parts, where they are there, are changed."""
    codes, scale, minimum = (
        None if part is None else change(part)
        for part in (rows.codes, rows.scale, rows.minimum)
    )
    return Quantized(codes, scale, minimum, rows.dtype, rows.rotated)
