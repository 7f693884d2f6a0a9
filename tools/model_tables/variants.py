# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What variants cost a model: of `heed eval`."""

import math

from model_tables.words import fixed, percent, signed, table

VERDICTS = ("kept", "undecided", "recall lost", "text lost", "both lost", "none")


def measured(eval_, heads):
    run = eval_["run"]
    texts = "; ".join(f"`{k}`: {v['label']}" for k, v in run["texts"].items())
    versions = ", ".join(f"{k} {v}" for k, v in run["versions"].items())
    lengths = ", ".join(f"{n:,}" for n in run.get("lengths", [run["length"]]))
    return (
        f"{run['model']}, {run['tokens']:,} tokens of each text ({texts}), documents of "
        f"{lengths} tokens ({documents_of(run)}); {run['cpu']}, "
        f"{run['threads']} threads, {versions}. "
        "Times are that machine's; nothing else depends on it.\n"
    )


def tasks_of(eval_):
    return list(eval_["rows"][0]["tasks"])


def documents_of(run):
    """How many documents each task had."""
    return ", ".join(f"{count} of `{task}`" for task, count in run["documents"].items())


def eval_table(eval_, heads):
    names = tasks_of(eval_)
    able = {n: eval_["rows"][0]["tasks"][n]["able"] for n in names}
    head = ["variant", "KLD", "like", "ln PPL ratio", *names, "worst task", "verdict"]
    lines = []
    for row in eval_["rows"]:
        if row["refused"]:
            lines.append([f"`{row['spec']}`", "refused"] + ["-"] * (len(head) - 2))
            continue
        cells = [f"`{row['spec']}`"]
        exact = row["spec"] == "exact"
        cells.append("-" if exact else f"{row['kld']:.4f} ± {row['kld_error']:.4f}")
        cells.append(row.get("rung", "-"))
        cells.append(
            "-" if exact else signed(row["ln_ratio"], row["ln_ratio_error"], 3)
        )
        for name in names:
            task = row["tasks"][name]
            text = percent(task["accuracy"])
            if not exact:
                text += f", {task['margin_change']:+.2f}"
            cells.append(text if able[name] else f"({text})")
        share = row.get("worst_share")
        cells.append(
            "-"
            if share is None
            else "not tested"
            if not row["worst_tested"]
            else f"{row['worst_task']} {percent(share)}"
        )
        cells.append(row.get("verdict", "-"))
        lines.append(cells)
    return table(head, lines)


def kernel_table(eval_, heads):
    head = ["variant", "density", "mass", "worst layer", "rel L2", "time", "choosing"]
    lines = []
    for row in eval_["rows"]:
        k = row["kernel"]
        if k is None:
            if row.get("beneath_refused"):
                lines.append([f"`{row['spec']}`", "refused"] + ["-"] * (len(head) - 2))
            continue
        worst = "-"
        if k["mass"] is not None:
            worst = f"{k['worst_layer']}: {fixed(k['worst_layer_mass'])}"
        lines.append(
            [
                f"`{row['spec']}`",
                fixed(k["density"], 3),
                fixed(k["mass"], 3),
                worst,
                fixed(k["rel_l2"], 3),
                fixed(k["time_ratio"]),
                percent(k["choosing_share"]),
            ]
        )
    return table(head, lines)


def judged(eval_):
    return [r for r in eval_["rows"] if r["spec"] != "exact" and r["kld"] is not None]


def opposite(rows):
    """The pair of rows that text and recall order oppositely, farthest apart.

    Beyond their errors, each by 1.96.
    """
    apart = lambda a, b, name: b[name] - a[name] > 1.96 * math.hypot(
        a[f"{name}_error"], b[f"{name}_error"]
    )
    pairs = [
        (a, b)
        for a in rows
        for b in rows
        if None not in (a.get("worst_share_error"), b.get("worst_share_error"))
        and apart(a, b, "kld")
        and apart(a, b, "worst_share")
    ]
    if not pairs:
        return None
    return max(pairs, key=lambda p: p[1]["worst_share"] - p[0]["worst_share"])


def verdicts(eval_, heads):
    rows = judged(eval_)
    lines = []
    for verdict in VERDICTS:
        these = [f"`{r['spec']}`" for r in rows if r["verdict"] == verdict]
        if these:
            lines.append(f"- {verdict}: {', '.join(these)}\n")
    pair = opposite(rows)
    if pair:
        a, b = pair
        lines.append(
            f"\nText and recall can order variants oppositely: `{a['spec']}` has a KLD "
            f"of {a['kld']:.4f} and keeps {percent(a['worst_share'])} of its worst task; "
            f"`{b['spec']}` has {b['kld']:.4f} and keeps {percent(b['worst_share'])}.\n"
        )
    else:
        lines.append(
            "\nText and recall ordered no two variants oppositely, beyond their errors.\n"
        )
    return "".join(lines) + "".join(f"- {w}\n" for w in ["", *eval_["warnings"]] if w)


def text_costs(eval_):
    """What variants cost a text: of a run of `heed eval` that asked for little else."""
    run = eval_["run"]
    texts = ", ".join(f"`{name}`" for name in run["texts"])
    fitted = any(row.get("fit") for row in eval_["rows"])
    lines = []
    for row in eval_["rows"]:
        if row["spec"] == "exact":
            continue
        cells = [
            f"`{row['spec']}`",
            f"{row['kld']:.3f} ± {row['kld_error']:.3f}",
            row["rung"],
            signed(row["ln_ratio"], row["ln_ratio_error"]),
            percent(row["same_top"]),
            fixed(row["kernel"]["rel_l2"], 3),
        ]
        if fitted:
            fit = row.get("fit")
            cells.append(fixed(fit["divergence"]) if fit else "-")
        lines.append(cells)
    head = ["variant", "KLD", "like", "ln PPL ratio", "same top", "rel L2"]
    about = f"{run['model']}, {run['tokens']:,} tokens of {texts}; {run['cpu']}.\n"
    if fitted:
        head.append("weights")
        text = next(row["fit"]["text"] for row in eval_["rows"] if row.get("fit"))
        about = (
            f"{about[:-1]} Fitted on the end of {text}; the last column is how far "
            "fitted weights are from softmax's there (KL, nats).\n"
        )
    return about + "\n" + table(head, lines)
