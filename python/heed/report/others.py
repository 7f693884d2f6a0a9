# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Sections of results that are tables: head counts, positions, published results."""

import html

from heed.models.rows import number, with_error
from heed.report.sections import scrolled


def _section(title, parts):
    body = "".join(parts)
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>" if body else ""


def _note(text):
    return f'<p class="note">{html.escape(text)}</p>'


def _signed(value, error):
    return f"+{with_error(value, error)}" if value > 0 else with_error(value, error)


def _turns(found):
    """What the model loses with its positions changed."""
    lines = []
    for row in found:
        changes = [
            _signed(row[f"{what}_change"], row.get(f"{what}_change_error"))
            for what in ("loss", "needle", "induction")
        ]
        lines.append([row["name"], number(row["loss"]), *changes])
    head = [
        "positions",
        "loss of prose",
        "change",
        "needles' margin",
        "induction's margin",
    ]
    return scrolled(head, lines) + _note(
        "Changes are paired, in nats, with standard errors over documents."
    )


def _length(found):
    """Loss by position beyond the trained length, a row a scaling."""
    head = ["scaling"] + [
        f"{b['first']:,} to {b['last']:,}" for b in found["rows"][0]["buckets"]
    ]
    lines = [
        [row["scaling"]]
        + [
            number(b["loss"])
            + (
                f" ({_signed(b['change'], b.get('change_error'))})"
                if "change" in b
                else ""
            )
            for b in row["buckets"]
        ]
        for row in found["rows"]
    ]
    return scrolled(head, lines) + _note(
        f"Loss by position in texts of {found['tokens']:,} tokens; the model was trained "
        f"on {found['trained']:,}. In brackets the change from the text cut into pieces "
        "of that length."
    )


def _order(found):
    """How far permuted tokens give the same."""
    layers = found.get("layers") or {}
    lines = [
        [name, number(row["rel_l2"]), f"{100 * row['equal']:.1f} %"]
        for name, row in layers.get("permuted", {}).items()
    ]
    return scrolled(["tokens permuted", "relative L2", "numbers of equal bits"], lines)


def positions(result):
    """What positions are for, as `heed positions` found it."""
    parts = []
    for name, show in (("order", _order), ("turns", _turns), ("length", _length)):
        if result.get(name):
            parts.append(show(result[name]))
    for name, why in result["not_measured"].items():
        parts.append(_note(f"{name}: not measured: {why}"))
    return _section("What positions are for", parts)


def head_count(result):
    """Models of one size, trained with more or fewer heads."""
    lines = []
    for row in result["rows"]:
        published = row.get("published_perplexity")
        lines.append(
            [
                row["heads"],
                row["head_dim"],
                with_error(row["loss"], row["loss_error"], 4),
                _signed(row["change"], row["change_error"]),
                "-" if published is None else published,
            ]
        )
    head = ["heads", "of width", "loss, nats", "from the best", "published perplexity"]
    note = (
        "Errors are over seeds. Published: Vaswani et al. 2017, Table 3 A, translation."
    )
    return _section(
        "Trained with more or fewer heads", [scrolled(head, lines), _note(note)]
    )


def bars(result):
    """Published results: theirs, ours, the rule and the label."""
    words = ' class="words"'
    lines = []
    for bar in result["bars"]:
        numbers = [
            f"{n['what']}: {with_error(n['ours'], n.get('error'))}"
            + (f" (published: {n['published']})" if n["published"] != "-" else "")
            for n in bar["numbers"]
        ]
        told = "; ".join(numbers) or bar.get("reason") or "-"
        lines.append(
            [
                (f"{bar['title']} ({bar['source']})", words),
                bar["label"],
                (told, words),
                (bar["rule"], words),
                ("; ".join(bar["not_like_for_like"]), words),
            ]
        )
    head = [
        ("published", words),
        "label",
        ("ours", words),
        ("rule", words),
        ("not like for like", words),
    ]
    return _section("Published results, redone", [scrolled(head, lines)])


def sections(results):
    made = [
        show(results[name])
        for name, show in (
            ("head_count", head_count),
            ("positions", positions),
            ("bars", bars),
        )
        if name in results
    ]
    return "".join(made)
