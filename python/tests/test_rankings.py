# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Rankings of heads, and attention maps in bytes, on numbers made by hand."""

import base64

import numpy as np
import pytest

from heed.models import rankings


def test_rank_correlation():
    np.testing.assert_array_equal(rankings.ranks([3, 1, 3, 2]), [3.5, 1, 3.5, 2])
    assert rankings.rank_correlation([1, 2, 3, 4], [1, 8, 27, 64]) == pytest.approx(1)
    assert rankings.rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rankings.rank_correlation([1, 2, None, 3], [1, 2, 9, 0]) == pytest.approx(-0.5)
    assert rankings.rank_correlation([1, 2], [1, 2]) is None
    assert rankings.rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_alike():
    up = [float(i) for i in range(1, 11)]
    same = rankings.alike(up, [x * x for x in up])
    assert same == {"rho": pytest.approx(1), "top": 2, "shared": 2, "by_chance": 0.4}
    other = rankings.alike(up, up[::-1])
    assert other["rho"] == pytest.approx(-1) and other["shared"] == 0
    # The highest two of one are the highest and the lowest of the other.
    mixed = rankings.alike(up, [9.5, *up[1:8], 1.0, 10.0])
    assert mixed["shared"] == 1
    few = rankings.alike(up, [0.0] * 9 + [1.0])
    assert few["top"] == 1 and few["shared"] == 1
    assert rankings.alike(up, [0.0] * 10)["rho"] is None


def heads_of(**columns):
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def test_rankings_of_texts():
    first = heads_of(taylor=[3.0, 2.0, 1.0, 4.0], sink=[0.1, 0.2, 0.3, 0.05])
    second = heads_of(taylor=[1.0, 2.0, 3.0, 4.0], sink=[0.1, 0.2, 0.3, 0.05])
    found = {(r["a"], r["b"]): r["rho"] for r in rankings.rankings([first, second])}
    assert found == {
        ("taylor", "taylor, other text"): pytest.approx(0.2),
        ("sink", "sink, other text"): pytest.approx(1),
        ("taylor", "sink"): pytest.approx(-1),
    }
    assert [(r["a"], r["b"]) for r in rankings.rankings([first])] == [
        ("taylor", "sink")
    ]


def test_packed_maps():
    pytest.importorskip("torch")
    from heed.models import maps

    map_ = np.array([[1, 0, 0], [0.25, 0.75, 0], [0.001, 0, 0.999]])
    levels = list(base64.b64decode(maps.packed(map_)))
    assert levels == [255, 128, 221, 8, 0, 255]
    # All heads of a page fit: 3 bytes are 4 letters.
    assert maps.fitting(96, 270) == 96
    n = maps.fitting(512, 1000)
    size = lambda n: 1000 * len(base64.b64encode(bytes(n * (n + 1) // 2)))
    assert size(n) <= maps.MOST_BYTES < size(n + 1)
