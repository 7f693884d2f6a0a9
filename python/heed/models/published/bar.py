# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a bar is: a published result, ours beside it, and a rule that was there first."""

import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

from heed.models import scores

REDONE = "redone"
DIRECTION = "direction only"
NOT_SEEN = "not seen"
NOT_COMPARABLE = "not comparable"
LABELS = {
    REDONE: "the same quantity, and as the rule says",
    DIRECTION: "who is better than whom, not by how much, or by a quantity that "
    "stands in for the published one",
    NOT_SEEN: "measured, and not so here",
    NOT_COMPARABLE: "could not be measured here: the reason stands beside it",
}


class Unable(ValueError):
    """Why a bar cannot be measured here, as a sentence."""


@dataclass(frozen=True)
class Number:
    """One line of a bar: published as text, ours with the error that it has."""

    what: str
    published: str
    ours: Optional[float]
    error: Optional[float] = None


@dataclass(frozen=True)
class Bar:
    """A published result, and how it is redone.

    measure(context) returns what was found, a dict that JSON can hold; judge() its
    label, and numbers() its lines, the main one first. rule says in words what
    judge() does. differences: where the comparison is not like for like. files:
    results that measure() may take instead of running. needs_model: whether it
    depends on the model and the text; needs_tokens: and on how much of the text.
    timed: whether it finds times, which are those of one CPU.
    """

    name: str
    title: str
    source: str
    rule: str
    differences: Tuple[str, ...]
    measure: Callable[[Any], Dict[str, Any]]
    judge: Callable[[Dict[str, Any]], str]
    numbers: Callable[[Dict[str, Any]], List[Number]]
    files: Tuple[str, ...] = ()
    needs_model: bool = True
    needs_tokens: bool = True
    timed: bool = False


def surely_above(value, error, limit=0.0):
    """Whether a value is above a limit by about two standard errors."""
    return error is not None and value - limit > scores.BOUND * error


def together(*errors):
    """The error of a sum of independent parts; None where one has none."""
    return None if None in errors else math.hypot(*errors)
