# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Published results, redone: of `heed bars`."""

from model_tables.words import plain, table


def bars_table(bars):
    """Every bar by its main number; then the lines of each, and what is not alike."""
    run = bars["run"]
    lines = [
        [
            f"`{b['bar']}`: {b['title']}",
            b["published"],
            plain(b["ours"], b["error"]),
            b["label"],
        ]
        for b in bars["bars"]
    ]
    text = f"{run['model']}; {run['text']}, {run['tokens']:,} tokens; {run['cpu']}.\n"
    if run["load"] > run["processors"]:
        text += (
            f"Beside other work, a load of {run['load']:.0f} on {run['processors']} "
            "processors: read no times here but who is faster.\n"
        )
    if run["left_out"]:
        text += f"Not in this run: {', '.join(f'`{b}`' for b in run['left_out'])}.\n"
    text += "\n"
    text += table(["result", "published", "ours", "label"], lines)
    for bar in bars["bars"]:
        text += f"\n**{bar['title']}: {bar['label']}.** {bar['source']}. "
        text += f"Rule: {bar['rule']}.\n"
        if bar["reason"]:
            text += f"Not measured: {bar['reason']}.\n"
        text += "\n"
        for n in bar["numbers"]:
            known = "" if n["published"] == "-" else f"; published: {n['published']}"
            text += f"- {n['what']}: {plain(n['ours'], n['error'])}{known}\n"
        text += f"- not like for like: {'; '.join(bar['not_like_for_like'])}\n"
        measured_ = bar["measured"] or {}
        if taken := measured_.get("taken_from"):
            of = f", of {measured_['cpu']}" if "cpu" in measured_ else ""
            text += f"- taken from `{taken}`{of}\n"
    return text
