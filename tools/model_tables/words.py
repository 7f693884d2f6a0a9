# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers as text, and tables of Markdown."""


def table(head, lines):
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *lines])


def fixed(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value):
    return "-" if value is None else f"{100 * value:.0f} %"


def signed(value, error, digits=2):
    more = "" if error is None else f" ± {error:.{digits}f}"
    return f"{value:+.{digits}f}{more}"


def plain(value, error=None):
    """A number and its error by three digits that count."""
    if value is None:
        return "-"
    short = lambda x, digits: f"{x:,.0f}" if abs(x) >= 100 else f"{x:.{digits}g}"
    text = short(value, 3)
    return text if error is None else f"{text} ± {short(error, 2)}"
