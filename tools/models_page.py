#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the results in docs/models.md from what is kept in bench/models.

usage: models_page.py write     fills what stands between <!-- name --> and
                                <!-- end --> of the page, from every folder that
                                has the files that they are made of
       models_page.py check     whether that is what write makes
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "models"
PAGE = ROOT / "docs" / "models.md"
VERDICTS = ("kept", "undecided", "recall lost", "text lost", "both lost", "none")


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


def verdict_of(row):
    """A row's verdict; one of a run without errors of shares cannot be "kept"."""
    verdict = row.get("verdict", "-")
    known = row.get("worst_share_error") is not None
    return "undecided" if verdict == "kept" and not known else verdict


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
            "-" if share is None else f"{row['worst_task']} {percent(share)}"
        )
        cells.append(verdict_of(row))
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
    """The pair of rows that text and recall order oppositely, farthest apart."""
    pairs = [
        (a, b)
        for a in rows
        for b in rows
        if None not in (a["worst_share"], b["worst_share"])
        and a["kld"] < b["kld"]
        and a["worst_share"] < b["worst_share"]
    ]
    if not pairs:
        return None
    return max(pairs, key=lambda p: p[1]["worst_share"] - p[0]["worst_share"])


def verdicts(eval_, heads):
    rows = judged(eval_)
    lines = []
    for verdict in VERDICTS:
        these = [f"`{r['spec']}`" for r in rows if verdict_of(r) == verdict]
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
        lines.append("\nText and recall ordered no two variants oppositely.\n")
    return "".join(lines) + "".join(f"- {w}\n" for w in ["", *eval_["warnings"]] if w)


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


def plain(value, error=None):
    """A number and its error by three digits that count."""
    if value is None:
        return "-"
    short = lambda x, digits: f"{x:,.0f}" if abs(x) >= 100 else f"{x:.{digits}g}"
    text = short(value, 3)
    return text if error is None else f"{text} ± {short(error, 2)}"


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


def positions_of(positions):
    """What tells the order, and what changes of positions cost."""
    run, order = positions["run"], positions["order"]
    permuted, depth = order["layers"]["permuted"], order["depth"]
    text = (
        f"{run['model']}, preset `{run['preset']}`, {run['text']}; {run['cpu']}, heed "
        f"{run['versions']['heed']}.\n\nAttention of layers "
        f"{', '.join(map(str, order['layers']['layers']))} over "
        f"{order['layers']['tokens']} tokens, the worst of them:\n\n"
    )
    text += table(
        ["permuted", "numbers of equal bits", "relative L2"],
        [
            [name, f"{100 * n['equal']:.1f} %", f"{n['rel_l2']:.1e}"]
            for name, n in permuted.items()
        ],
    )
    text += (
        "\nThe last token's attention under the causal mask, all tokens before it "
        "permuted: without positions it changes by "
        f"{depth['without'][0]:.1e} in the first layer and by {depth['without'][1]:.1e} "
        f"in the second; with RoPE by {depth['rope'][0]:.1e} in the first.\n\n"
    )
    head = ["positions", "loss", "change"]
    for task in ("needle", "induction"):
        head += [f"{task}: right", "change of margin"]
    shifted = [r for r in positions["turns"] if r["name"].startswith("shifted")]
    moved = max(abs(r["loss_change"]) for r in shifted)
    text += f"Shifted by a constant, the loss changes by {moved:.1e} at most.\n\n"
    lines = []
    for row in positions["turns"]:
        cells = [row["name"], f"{row['loss']:.3f}"]
        cells.append(signed(row["loss_change"], row["loss_change_error"], 4))
        for task in ("needle", "induction"):
            cells.append(percent(row[f"{task}_right"]))
            cells.append(
                signed(row[f"{task}_change"], row[f"{task}_change_error"])
            )
        lines.append(cells)
    return text + table(head, lines)


def length_of(positions):
    """Loss by position beyond the trained length, by scaling."""
    length = positions["length"]
    buckets = length["rows"][0]["buckets"]
    text = (
        f"{positions['run']['model']}, trained on {length['trained']:,} tokens, over "
        f"{length['texts']} of {length['tokens']:,}. Loss by position, and its change "
        "from the text cut into pieces of the trained length.\n\n"
    )
    head = ["scaling"] + [f"{b['first']:,} to {b['last']:,}" for b in buckets]
    lines = []
    for row in length["rows"]:
        cells = [row["scaling"]]
        for bucket in row["buckets"]:
            cell = f"{bucket['loss']:.3f}"
            if "change" in bucket:
                change = signed(bucket["change"], bucket["change_error"], 3)
                cell += f" ({change})"
            cells.append(cell)
        lines.append(cells)
    return text + table(head, lines)


def lengths_of(positions, small):
    """Of the model, where its text was long enough, and of a small one."""
    return "\n".join(length_of(p) for p in (positions, small) if "length" in p)


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


# By block: what makes it, and of which files of a folder.
OF_EVAL = ("eval", "heads")
BLOCKS = {
    "measured": (measured, OF_EVAL),
    "eval": (eval_table, OF_EVAL),
    "verdicts": (verdicts, OF_EVAL),
    "kernel": (kernel_table, OF_EVAL),
    "heads": (head_types, OF_EVAL),
    "fitted": (text_costs, ("fitted",)),
    "dropped": (text_costs, ("dropped",)),
    "positions": (positions_of, ("positions",)),
    "length": (lengths_of, ("positions", "positions_small")),
    "head_count": (head_count, ("head_count",)),
    "bars": (bars_table, ("bars",)),
}


def page(text):
    """The page with its blocks made anew: of each CPU's folder, in their order."""

    def fill(match):
        make, names = BLOCKS[match[1]]
        found = {}
        for folder in sorted(p for p in RESULTS.iterdir() if p.is_dir()):
            files = [folder / f"{name}.json" for name in names]
            if all(file.is_file() for file in files):
                found[folder.name] = [json.loads(file.read_text()) for file in files]
        made = [
            (f"**{name}**\n\n" if len(found) > 1 else "") + make(*results)
            for name, results in found.items()
        ]
        return f"<!-- {match[1]} -->\n\n" + "\n".join(made) + "\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


def loose_numbers(text):
    """Numbers with a fraction, or percentages, that no block made."""
    text = re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\d+\.\d+|\d+ ?%", text)


def main(arguments):
    text = PAGE.read_text()
    if arguments == ["write"]:
        PAGE.write_text(page(text))
    elif arguments == ["check"]:
        if text != page(text):
            sys.exit("docs/models.md is not what tools/models_page.py write makes")
        if loose := loose_numbers(text):
            sys.exit(f"docs/models.md: stands in no result: {', '.join(loose)}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
