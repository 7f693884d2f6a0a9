# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Measures of models, on numbers made by hand."""

import math

import numpy as np
import pytest
from made_items import items

from heed.models import scores, tasks


def test_divergence_by_hand():
    exact = np.log(np.array([[0.5, 0.5], [0.9, 0.1]], np.float32))
    other = np.log(np.array([[0.25, 0.75], [0.9, 0.1]], np.float32))
    want = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    np.testing.assert_allclose(scores.divergence(exact, other), [want, 0], atol=1e-6)


def test_log_softmax_of_large_logits():
    logits = np.array([[1000, 1000, -1000], [0, math.log(3), -1e9]], np.float32)
    got = np.exp(scores.log_softmax(logits))
    np.testing.assert_allclose(got, [[0.5, 0.5, 0], [0.25, 0.75, 0]], atol=1e-6)


def test_compared_tokens_by_hand():
    kld = np.arange(101) / 100
    exact, other = np.full(101, 2.0), np.full(101, 2.5)
    other[0] = 3.0
    got = scores.compare_tokens(exact, other, kld, np.arange(101) < 50)
    assert got["tokens"] == 101
    assert got["exact_ppl"] == pytest.approx(math.exp(2))
    assert got["ln_ratio"] == pytest.approx(0.5 + 0.5 / 101)
    # One of 101 differences stands 0.5 off: its variance is 0.25 / 101.
    assert got["ln_ratio_error"] == pytest.approx(math.sqrt(0.25 / 101 / 101))
    assert (got["kld"], got["kld_p50"]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert (got["kld_p90"], got["kld_p99"]) == (pytest.approx(0.9), pytest.approx(0.99))
    assert got["same_top"] == pytest.approx(50 / 101)
    # Pairs decide: what both share is no error.
    noise = np.random.default_rng(1).normal(0, 5, 101)
    paired = scores.compare_tokens(exact + noise, other + noise, kld, kld > 0)
    assert paired["ln_ratio_error"] == pytest.approx(got["ln_ratio_error"])


def test_errors_over_clusters():
    mean, error = scores.clustered([1, 1, 3, 3], [0, 0, 1, 1])
    assert (mean, error) == (2, pytest.approx(1))  # sqrt(2 / 1 * (4 + 4) / 16)
    values = [1.0, 4.0, 2.0, 9.0]
    alone = scores.clustered(values, range(4))
    assert alone == pytest.approx(scores.mean_error(values))
    assert scores.clustered([1, 2], ["a", "a"]) == (1.5, None)
    assert scores.mean_error([]) == (None, None)


def test_positions():
    assert scores.by_position(np.array([1, 2, 4, 6, 8, 10.0])) == [
        [1, 1, 1.0],
        [2, 3, 3.0],
        [4, 6, 8.0],
    ]
    falling = np.linspace(5, 1, 600)
    assert scores.context_score(falling) == pytest.approx(-4 * 450 / 599)
    assert scores.context_score(falling[:100]) is None


def test_margin_by_hand():
    log_probs = np.log(np.array([0.1, 0.4, 0.2, 0.3]))
    best, mean, own = scores.margin(log_probs, 1, [0, 3])
    assert best == pytest.approx(math.log(0.4 / 0.3))
    assert mean == pytest.approx(math.log(0.4) - (math.log(0.1) + math.log(0.3)) / 2)
    assert own == pytest.approx(math.log(0.4))
    assert scores.margin(log_probs, 0, [1])[0] < 0


def test_items_are_scored_at_the_token_before_them():
    item = lambda position, right: tasks.Item(position, right, [3], 0.5, 0.1, 7)
    documents = [
        tasks.Document([0] * 5, [item(2, 1), item(4, 2)]),
        tasks.Document([0] * 3, [item(1, 1)]),
    ]
    # States that are log-probabilities: of row r, what r says, less in document 1.
    rows = -np.arange(20.0).reshape(5, 4)
    forward = lambda number, document: rows[: len(document.ids)] * (1 - 3 * number)
    found = list(scores.scored(documents, forward, lambda hidden: hidden))
    assert [(x["document"], x["item"]) for x in found] == [(0, 0), (0, 1), (1, 0)]
    assert [x["margin"] for x in found] == [2.0, 1.0, -4.0]
    assert [x["logp"] for x in found] == [-5.0, -14.0, 2.0]
    assert [x["right"] for x in found] == [True, True, False]
    assert scores.task_summary(found)["accuracy"] == pytest.approx(2 / 3)
    margins, of = scores.margins(documents, forward, lambda hidden: hidden)
    assert margins.tolist() == [2.0, 1.0, -4.0] and of.tolist() == [0, 0, 1]
    none, of = scores.margins([], forward, lambda hidden: hidden)
    assert len(none) == len(of) == 0


def test_what_a_model_can_do():
    assert scores.wilson(10, 10) == pytest.approx(0.7225, abs=1e-4)
    assert scores.wilson(0, 0) == 0
    good, chance = scores.task_summary(items(18)), scores.task_summary(items(3))
    assert good["accuracy"] == 0.9 and good["margin"] == pytest.approx(0.8)
    assert scores.can_do(good) and not scores.can_do(chance)
    assert scores.retained(good, good) == 1
    assert scores.retained(good, scores.task_summary(items(0))) < 0
    half = scores.task_summary(items(10))
    assert scores.retained(good, half) == pytest.approx((0.5 - 0.125) / (0.9 - 0.125))


def test_verdict_needs_both():
    share = lambda value: [(value, 0.01)]
    assert scores.verdict([(0.01, 0.001)], share(0.95)) == "kept"
    assert scores.verdict([(0.01, 0.001)], share(0.5)) == "recall lost"
    assert scores.verdict([(0.5, 0.01)], share(1.0)) == "text lost"
    assert scores.verdict([(0.5, 0.01)], share(0.1)) == "both lost"
    assert scores.verdict([(0.01, 0.001)], []) == "none"
    assert scores.verdict([], share(1.0)) == "none"
    assert [scores.rung(k) for k in (0, 0.03, 0.2, 9)] == [
        "q8_0",
        "q4_K_M",
        "q2_K",
        "beyond iq1_M",
    ]
