# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What heads do, and how many: of `heed heads` and of the study of head counts."""

from model_tables.words import fixed, percent, signed, table


def head_types(eval_, heads):
    names = list(dict.fromkeys(h["type"] for h in heads["heads"]))
    count = {n: sum(h["type"] == n for h in heads["heads"]) for n in names}
    lines = [
        [
            name,
            str(count[name]),
            percent(count[name] / len(heads["heads"])),
            ", ".join(
                f"{h['layer']}.{h['head']}" for h in heads["heads"] if h["type"] == name
            )
            if count[name] <= 12
            else "-",
        ]
        for name in sorted(names, key=lambda n: -count[n])
    ]
    found = sum(h["retrieval"] >= 0.1 for h in heads["heads"])
    text = table(["type", "heads", "share", "layer.head"], lines)
    text += (
        f"\n{found} of {len(heads['heads'])} heads "
        f"({100 * found / len(heads['heads']):.1f} %) have a retrieval score of 0.1 or "
        "more; Wu et al. 2024 found 2.1 to 6.2 % in models of 7B parameters and more.\n"
    )
    return text + ranking_table(heads)


def ranking_table(heads):
    """How alike heads rank, of a run that has it."""
    if not heads.get("rankings"):
        return ""
    lines = [
        [
            f"{pair['a']}; {pair['b']}",
            "-" if pair["rho"] is None else f"{pair['rho']:+.2f}",
            f"{pair['shared']} of {pair['top']}",
            fixed(pair["by_chance"], 1),
        ]
        for pair in heads["rankings"]
    ]
    head = ["heads by", "rank correlation", "shared among the highest", "by chance"]
    return "\n" + table(head, lines)


def head_count(study):
    """Loss by heads, beside the paper's perplexities."""
    rows = study["rows"]
    best = min(rows, key=lambda r: r["loss"])
    published = {r["heads"]: r["published_perplexity"] for r in rows}
    lines = [
        [
            str(row["heads"]),
            str(row["head_dim"]),
            signed(row["loss"], row["loss_error"], 4).lstrip("+"),
            "-" if row is best else signed(row["change"], row["change_error"], 4),
            fixed(published[row["heads"]]),
        ]
        for row in rows
    ]
    seeds = f"{study['seeds']} seeds"
    if study["seeds"] == 1:
        seeds = "one seed alone, which has no error, so that neighbours are not ordered"
    return (
        f"{study['model']}, {study['parameters']:,} parameters, {study['steps']:,} steps "
        f"of {study['batch']} x {study['context']} bytes of {study['text']}; "
        f"{seeds}; {study['cpu']}, heed {study['versions']['heed']}, torch "
        f"{study['versions']['torch']}. First gradients are within "
        f"{study['worst_gradient_error']:.0e} of PyTorch's attention's.\n\n"
        + table(
            ["heads", "of channels", "loss", f"from {best['heads']}", "published PPL"],
            lines,
        )
    )
