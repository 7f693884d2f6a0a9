# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Keys and values of 8 or 4 bits."""

from dataclasses import dataclass
from typing import Any, Optional, Sequence, Tuple

import numpy as np

from heed import _heed
from heed._types import Tensor

DTYPES = ("int8", "float8_e4m3", "float8_e5m2", "uint4")
_GROUP = 32  # channels that a scale of uint4 serves; 64 where head_dim allows


@dataclass(frozen=True)
class Quantized:
    """Quantised keys or values, which stand for k, v, k_cache or v_cache.

    codes: [batch, seqlen, kv_heads, head_dim], or in the layout of the call; 8
        bits an element, and for "uint4" head_dim / 2 of them, whose low halves
        are the even channels.
    scale, minimum: float32 [batch, seqlen, kv_heads, groups]. An element is
        codes * scale, for "uint4" codes * scale + minimum. groups is 1, and
        for "uint4" head_dim / 64 or head_dim / 32. scale may be None (1), but
        for "uint4"; only that has a minimum.
    dtype: "int8", "float8_e4m3", "float8_e5m2" or "uint4".
    rotated: the rows went through a Hadamard rotation first, which spreads
        outliers over all channels.

    Slices along batch, seqlen and heads are made of slices of its parts. Of the
    doors, attention(), varlen(), explain() and with_kvcache() take it.
    """

    codes: Any
    scale: Any
    minimum: Any
    dtype: str
    rotated: bool = False

    def parts(self) -> Tuple[Any, Any, Any, str, bool]:
        return self.codes, self.scale, self.minimum, self.dtype, self.rotated

    @classmethod
    def zeros(
        cls,
        shape: Sequence[int],
        dtype: str = "int8",
        *,
        rotate: bool = False,
        like: Optional[Tensor] = None,
    ) -> "Quantized":
        """Returns an empty cache: room for rows of this shape, by numpy.

        shape ends with head_dim. like: a torch tensor, for torch's tensors.
        """
        if dtype not in DTYPES:
            names = ", ".join(f'"{name}"' for name in DTYPES)
            raise ValueError(f"dtype: {dtype!r} is not offered: {names}")
        *rows, head_dim = shape
        bytes_of_row, groups = head_dim, 1
        if dtype == "uint4":
            group = _GROUP if head_dim % (2 * _GROUP) else 2 * _GROUP
            if head_dim % group:
                raise ValueError(
                    f"head_dim: needs to be a multiple of {_GROUP} for uint4, "
                    f"got {head_dim}"
                )
            bytes_of_row, groups = head_dim // 2, head_dim // group
        if hasattr(like, "new_zeros"):
            import torch

            make = like.new_zeros
            kinds = (torch.int8 if dtype == "int8" else torch.uint8, torch.float32)
        else:
            make = np.zeros
            kinds = (np.int8 if dtype == "int8" else np.uint8, np.float32)
        return cls(
            make((*rows, bytes_of_row), dtype=kinds[0]),
            make((*rows, groups), dtype=kinds[1]),
            make((*rows, groups), dtype=kinds[1]) if dtype == "uint4" else None,
            dtype,
            rotate,
        )


def lend(rows):
    """As the extension takes them."""
    return rows.parts() if type(rows) is Quantized else rows


def quantize_kv(
    x: Tensor, dtype: str = "int8", *, rotate: bool = False, layout: str = "bshd"
) -> Quantized:
    """Returns rows as quantised ones: a scale a row, or for "uint4" a group.

    x: keys or values, float32, bfloat16 or float16. What is lost is at most half a
        scale an element, largest |x| / 127 for "int8", (max - min) / 15 of 64 or
        32 channels for "uint4"; of float8 2^-4 (e4m3) or 2^-3 (e5m2) of |x|.
    rotate: rows are rotated first; queries are then rotated too, in the call.

    Attention to them has the bits that it has for the numbers that they stand for.
    """
    to = Quantized.zeros(tuple(x.shape), dtype, rotate=rotate, like=x)
    _heed.quantize_kv(x, to.parts(), layout)
    return to
