# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""A cache of 8 or 4 bits for Hugging Face models under heed's attention."""

import functools

from transformers.cache_utils import Cache, CacheLayerMixin

from heed import _heed
from heed._hf_lent import cut, each, lent
from heed._quantized import Quantized


class _Layer(CacheLayerMixin):
    is_sliding = False
    is_croppable = True

    def __init__(self, dtype, rotate):
        super().__init__()
        self._dtype, self._rotate = dtype, rotate
        self._rows = None  # keys and values, with room
        self._length = 0

    def lazy_initialization(self, key_states, value_states=None):
        self.is_initialized = True

    def _reserve(self, new, length):
        """Makes room for so many tokens, twice as much each time."""
        room = 0 if self._rows is None else self._rows[0].codes.shape[2]
        if length <= room:
            return
        made = []
        for i, x in enumerate(new):
            batch, heads, _, head_dim = x.shape
            shape = (batch, heads, max(length, 2 * room, 64), head_dim)
            rows = Quantized.zeros(shape, self._dtype, rotate=self._rotate, like=x)
            if self._rows is not None:
                for old, place in zip(self._rows[i].parts()[:3], rows.parts()[:3]):
                    if old is not None:
                        place[:, :, : self._length] = old[:, :, : self._length]
            made.append(rows)
        self._rows = made

    def update(self, key_states, value_states, *args, **kwargs):
        self.lazy_initialization(key_states)
        new = [x.detach() for x in (key_states, value_states)]
        end = self._length + key_states.shape[2]
        self._reserve(new, end)
        given = []
        for x, rows in zip(new, self._rows):
            x = x if x.stride(-1) == 1 or x.shape[-1] < 2 else x.contiguous()
            place = cut(rows, slice(None), self._length, end)
            _heed.quantize_kv(x, place.parts(), "bhsd")
            given.append(lent(cut(rows, slice(None), 0, end), x, x.shape[-1]))
        self._length = end
        return tuple(given)

    def get_seq_length(self, *args):
        return self._length

    def get_max_length(self):
        return -1  # none

    get_max_cache_shape = get_max_length

    def get_mask_sizes(self, rows):
        rows = rows if isinstance(rows, int) else rows.shape[0]
        return self._length + rows, 0

    def reset(self):
        self._rows, self._length = None, 0

    def crop(self, tokens_to_remove):
        if tokens_to_remove > 0:
            raise ValueError(
                f"crop: needs minus the tokens to remove, got {tokens_to_remove}"
            )
        self._length = max(0, self._length + tokens_to_remove)

    def _change(self, change):
        if self._rows is not None:
            self._rows = [each(rows, change) for rows in self._rows]

    def reorder_cache(self, beam_idx):
        self._change(lambda part: part.index_select(0, beam_idx))

    def batch_repeat_interleave(self, repeats):
        self._change(lambda part: part.repeat_interleave(repeats, 0))

    def batch_select_indices(self, indices):
        self._change(lambda part: part[indices])


class QuantizedCache(Cache):
    """A cache whose keys and values have 8 or 4 bits, for past_key_values.

    dtype: as quantize_kv() has them. rotate: rows are rotated first, which helps
    keys with outliers. Attention reads it as it is, so memory and what decoding
    reads are a quarter ("uint4": some 0.16) of float32's. Only for models under
    attn_implementation="heed": others raise TypeError.
    """

    def __init__(self, dtype="int8", *, rotate=False):
        Quantized.zeros((0, 64), dtype)  # raises for other names
        super().__init__(
            layer_class_to_replicate=functools.partial(_Layer, dtype, rotate)
        )
