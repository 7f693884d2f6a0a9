# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What answers are made of: numbers as words, and bounds for many numbers at once."""

import math
from statistics import NormalDist


def bound_of(count, freedom=None):
    """Standard errors that one of so many numbers passes by chance once in twenty.

    freedom: degrees of freedom of the errors, for Student's distribution; without,
    errors are taken as known.
    """
    if freedom is None:
        return NormalDist().inv_cdf(1 - 0.025 / max(count, 1))
    # The tangent of an angle, whose density is a power of its cosine.
    steps = 2000
    angle = lambda i: (i + 0.5) / steps * math.pi / 2
    cells = [math.cos(angle(i)) ** (freedom - 1) for i in range(steps)]
    beyond, tail = 0.05 / max(count, 1) * sum(cells), 0.0
    for i in reversed(range(steps)):
        if tail + cells[i] > beyond:
            at = (i + 1 - (beyond - tail) / cells[i]) / steps * math.pi / 2
            return math.sqrt(freedom) * math.tan(at)
        tail += cells[i]
    return 0.0


def freedom_of(errors, counts):
    """Degrees of freedom of a difference of means, by their errors (Welch 1947)."""
    parts = [e**4 / (n - 1) for e, n in zip(errors, counts) if e]
    return sum(e**2 for e in errors) ** 2 / sum(parts) if parts else None


def percent(share):
    return f"{100 * share:.0f} %"


def with_error(value, error, digits=2):
    text = f"{value:.{digits}f}"
    return text if error is None else f"{text} ± {error:.{digits}f}"


def answer(question, word, says, rule):
    return {"question": question, "word": word, "says": says, "rule": rule}
