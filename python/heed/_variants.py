# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Variants: sparse and linear attention by name."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from heed import _heed
from heed._types import Tensor, Window


def variants() -> List[Dict[str, Any]]:
    """Returns all variants of this build, as a list of dicts.

    name, summary, paper; semantics: "exact", "exact on selection" (softmax over
    the pairs that it keeps) or "own reference" (something else, as linear
    attention is); knobs (name, summary, default, min, max, integer, and exact:
    a value at which it is exact attention, or None); inputs that it takes
    beside q, k and v; selects_ahead: which keys a row sees may depend on keys
    behind it; causal: whether it has a causal form; equal_head_dims: whether
    the head_dim of v must be that of q and k.
    """
    return _heed.variants()


@dataclass
class VariantRun:
    """What run_variant() returns.

    out, lse: as attention() returns them; lse is NaN where a variant has no
        such sum.
    spec: the variant with all its knobs.
    seconds, phases: of this run, and its parts: estimate, select, build, attend.
        A first run pays for memory: to compare times, use compare().
    cost: flops, bytes, and of them select_flops and select_bytes; counted over
        the pairs that were kept, else by the variant's formula.
    workspace: bytes.
    density: kept pairs by those that masks leave; None where nothing is chosen.
    """

    out: Any
    lse: Any
    spec: str
    seconds: float
    phases: Dict[str, float]
    cost: Dict[str, Any]
    workspace: int
    density: Optional[float] = None
    _kept: Optional[tuple] = field(default=None, repr=False)
    _extents: tuple = field(default=(), repr=False)

    def kept(self) -> Tuple[np.ndarray, np.ndarray]:
        """Returns (offsets, intervals), int64: the keys that each row kept.

        Row r = (batch * heads + head) * seqlen_q + query has the intervals
        [begin, end) from intervals[offsets[r]] to intervals[offsets[r + 1] - 1].
        Raises ValueError for a variant that keeps no selection, or where none
        was recorded.
        """
        if self._kept is None:
            raise ValueError(f"{self.spec}: no selection was recorded")
        offsets, intervals = (np.frombuffer(part, np.int64) for part in self._kept)
        return offsets, intervals.reshape(-1, 2)

    def mask(self) -> np.ndarray:
        """Returns the same as bool [batch, heads, seqlen_q, seqlen_k]."""
        offsets, intervals = self.kept()
        edges = np.zeros((len(offsets) - 1, self._extents[3] + 1), np.int8)
        rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        np.add.at(edges, (rows, intervals[:, 0]), 1)
        np.add.at(edges, (rows, intervals[:, 1]), -1)
        kept = np.cumsum(edges[:, :-1], axis=1, dtype=np.int8) > 0
        return kept.reshape(self._extents)


def run_variant(
    spec: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    softmax_scale: Optional[float] = None,
    causal: bool = False,
    window_size: Window = (-1, -1),
    softcap: float = 0.0,
    sink_size: int = 0,
    causal_offset: Optional[int] = None,
    inputs: Optional[Dict[str, Tensor]] = None,
    out: Optional[Tensor] = None,
    record: bool = True,
    layout: str = "bshd",
) -> VariantRun:
    """Runs a variant once and returns a VariantRun: what it gave and what it cost.

    spec: its name and knobs, "xattention:threshold=0.9"; see variants().
    q, k, v: float32, as in attention(), whose other arguments mean the same.
    inputs: what it takes beside them, by name, [batch, seqlen_k, kv_heads, 1 or
        head_dim]; without, numbers are drawn.
    record: whether to note the pairs that it keeps, which takes memory a row.

    Raises ValueError for a variant or a knob that does not exist, and for what
    the variant does not serve.
    """
    given = _heed.run_variant(
        spec,
        q,
        k,
        v,
        softmax_scale,
        causal,
        window_size,
        softcap,
        sink_size,
        causal_offset,
        inputs or {},
        out,
        record,
        layout,
    )
    return VariantRun(
        out=given["out"],
        lse=given["lse"],
        spec=given["spec"],
        seconds=given["seconds"],
        phases=given["phases"],
        cost=given["cost"],
        workspace=given["workspace"],
        density=given.get("density"),
        _kept=given.get("kept"),
        _extents=given["extents"],
    )
