# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The documents of tasks, on prose made by hand."""

import re

import numpy as np
import pytest

from heed.models import tasks
from heed.models.errors import InputError


def encode(text):
    """A tokenizer of words, digits and marks, each blank part of what follows."""
    return [
        int.from_bytes(part.encode()[-6:], "big")
        for part in re.findall(r"\s?[A-Za-z]+|\s?\d|\s?[^\sA-Za-z\d]|\s", text)
    ]


def prose(sentences=2000):
    rng = np.random.default_rng(3)
    ends = [f"{b}{c}" for b in ("an", "er", "ol", "ut") for c in "aeio"]
    words = [f"{a}{end}" for a in "bcdfghjklmnprstvwz" for end in ends]
    lines = (" ".join(rng.choice(words, 9)).capitalize() for _ in range(sentences))
    return ". ".join(lines) + "."


@pytest.mark.parametrize("task", list(tasks.TASKS))
def test_documents(task):
    text = prose()
    make = lambda seed: tasks.build(
        task, text, encode, np.random.default_rng(seed), 512, 2
    )
    documents = make(5)
    assert [d.ids for d in documents] == [d.ids for d in make(5)]
    assert documents[0].ids != make(6)[0].ids
    assert documents[0].ids != documents[1].ids
    for document in documents:
        assert 400 < len(document.ids) <= 520
        assert document.items
        for item in document.items:
            assert document.ids[item.position] == item.right
            assert item.right not in item.distractors
            assert len(set(item.distractors)) == len(item.distractors)
            assert item.chance == pytest.approx(1 / (1 + len(item.distractors)))
            # The answer stands where it is said to, before all questions.
            at = item.position - item.distance
            near = document.ids[at : at + 14 if task != "passkey" else at + 30]
            assert item.right in near
            assert at + 1 < document.items[0].position


def test_needles_are_spread():
    rng = np.random.default_rng(1)
    (document,) = tasks.build("needle", prose(), encode, rng, 800, 1)
    depths = sorted(item.depth for item in document.items)
    assert len(depths) == 8 and depths[0] < 0.1 and depths[-1] > 0.8
    assert max(np.diff(depths)) < 0.2
    asked = {item.right for item in document.items}
    assert len(asked) == 8
    assert all(set(i.distractors) == asked - {i.right} for i in document.items)


def test_digits_of_a_passkey():
    rng = np.random.default_rng(1)
    (document,) = tasks.build("passkey", prose(), encode, rng, 300, 1)
    assert len(document.items) == 5
    assert [len(item.distractors) for item in document.items] == [9] * 5


def test_texts_that_are_too_short():
    rng = np.random.default_rng(1)
    for task in tasks.TASKS:
        with pytest.raises(InputError, match="too short|fewer"):
            tasks.build(task, prose(4), encode, rng, 512, 1)
    with pytest.raises(InputError, match="--tasks needles"):
        tasks.build("needles", prose(), encode, rng, 512, 1)
