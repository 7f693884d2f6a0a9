# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers and types of heads, on weights made by hand."""

import numpy as np
import pytest

from heed.models import head_scores, tasks


def pattern(n, to):
    """Weights [1, n, n] with all of row i on key to(i)."""
    weights = np.zeros((1, n, n), np.float32)
    for i in range(n):
        weights[0, i, to(i)] = 1
    return weights


def uniform(n):
    lower = np.tril(np.ones((n, n), np.float32))
    return (lower / lower.sum(1, keepdims=True))[None]


def full(**numbers):
    return {**{key: 0.0 for _, key, _ in head_scores.RULES}, **numbers}


def test_of_text():
    n = 200
    heads = [
        pattern(n, lambda i: 0),
        pattern(n, lambda i: max(i - 1, 0)),
        pattern(n, lambda i: i),
        uniform(n),
    ]
    got = head_scores.of_text(np.concatenate(heads))
    rows = np.arange(64, n)
    np.testing.assert_allclose(got["sink"], [1, 0, 0, (1 / (rows + 1)).mean()])
    np.testing.assert_allclose(got["previous"][:3], [0, 1, 0])
    np.testing.assert_allclose(got["self"][:3], [0, 0, 1])
    far = rows.mean()
    np.testing.assert_allclose(got["distance"], [far, 1, 0, far / 2], rtol=1e-5)
    np.testing.assert_allclose(got["entropy"][:3], 0, atol=1e-9)
    assert got["entropy"][3] == pytest.approx(np.log(rows + 1).mean(), rel=1e-5)
    assert got["entropy_norm"][3] == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(got["local"][:3], [0, 1, 1])
    assert got["local"][3] == pytest.approx((64 / (rows + 1)).mean(), rel=1e-5)


def test_of_repetition():
    n = 12
    after = pattern(2 * n, lambda i: max(i - n + 1, 0))
    same = pattern(2 * n, lambda i: max(i - n, 0))
    got = head_scores.of_repetition(np.concatenate([after, same]), n)
    np.testing.assert_allclose(got["induction"], [1, 0])
    np.testing.assert_allclose(got["duplicate"], [0, 1])
    begun = pattern(2 * n + 1, lambda i: max(i - n + 1, 0))
    got = head_scores.of_repetition(begun, n, 1)
    np.testing.assert_allclose((got["induction"], got["duplicate"]), ([1], [0]))
    one = head_scores.of_repetition(uniform(2 * n + 3), n, 3)["induction"]
    rows = np.arange(3 + n, 3 + 2 * n - 1)
    np.testing.assert_allclose(one, (1 / (rows + 1)).mean(), rtol=1e-5)


def test_documents_after_a_prefix():
    item = tasks.Item(3, 5, [7], 0.5, 0.1, 2)
    (made,) = tasks.begun_by([1, 2], [tasks.Document([9, 5, 9, 5], [item])])
    assert made.ids == [1, 2, 9, 5, 9, 5]
    assert made.ids[made.items[0].position] == 5 and made.items[0].distance == 2


def test_retrieval():
    ids = [9, 9, 5, 7, 9, 9, 7, 9, 5]
    item = tasks.Item(8, 5, [7], 0.5, 0.1, 6)  # the answer's sentence begins at 2
    # One looks at the answer, one beside it, one at the same word elsewhere.
    tops = np.array([[2], [3], [8]])
    got = head_scores.retrieves(tops, ids, [item], span=4)
    np.testing.assert_array_equal(got, [1, 0, 0])
    got = head_scores.retrieves(np.array([[2]]), ids, [item], span=0)
    np.testing.assert_array_equal(got, [0])


def test_types():
    assert head_scores.type_of(full()) == "mixed"
    assert head_scores.type_of(full(sink=0.7)) == "sink"
    assert head_scores.type_of(full(sink=0.59)) == "mixed"
    assert head_scores.type_of(full(sink=0.7, retrieval=0.1)) == "retrieval"
    assert head_scores.type_of(full(previous=0.5, sink=0.4)) == "previous token"
    assert head_scores.type_of(full(induction=0.5, retrieval=0.5)) == "induction"
    assert head_scores.type_of(full(entropy=4.0, local=0.5)) == "broad"
