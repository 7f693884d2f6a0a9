# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What answers are made of: numbers as words, and bounds for many numbers at once."""

from statistics import NormalDist


def bound_of(count):
    """Standard errors that one of so many numbers passes by chance once in twenty."""
    return NormalDist().inv_cdf(1 - 0.025 / max(count, 1))


def percent(share):
    return f"{100 * share:.0f} %"


def with_error(value, error, digits=2):
    text = f"{value:.{digits}f}"
    return text if error is None else f"{text} ± {error:.{digits}f}"


def answer(question, word, says, rule):
    return {"question": question, "word": word, "says": says, "rule": rule}
