# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Results as rows: a variant each, with what it costs text and what it costs recall."""

from heed.models import scores

BENEATH = ("kernel", "layers")  # tasks that look at attention, not at the model
STARVED = 0.5  # of a layer's attention kept: below it, a sentence says so


def asked(entries):
    """(header, {key: entry}): what the last run of a file asked for and has."""
    header = [e for e in entries if "run" in e][-1]
    wanted = set(header["run"]["cases"])
    return header["run"], {e["key"]: e for e in entries if e.get("key") in wanted}


def _paired(exact, other):
    """Mean change of the margin of the same items, with its error over documents."""
    before = {(i[0], i[1], i[2]): i[3] for i in exact["grid"]}
    pairs = [(i[3] - before[i[0], i[1], i[2]], i[0]) for i in other["grid"]]
    return scores.clustered([p[0] for p in pairs], [p[1] for p in pairs])


def by_depth(summary):
    """[[tokens, fifth, mean margin, items], ...]: by length and depth of the answer.

    tokens: of the documents, rounded to 64, as prose fills them to a sentence. None
    where a result does not say its documents' lengths.
    """
    if "lengths" not in summary:
        return None
    cells = {}
    for document, _, depth, margin, _ in summary["grid"]:
        tokens = 64 * round(summary["lengths"][document] / 64)
        cells.setdefault((tokens, min(int(depth * 5), 4)), []).append(margin)
    return [
        [*cell, sum(margins) / len(margins), len(margins)]
        for cell, margins in sorted(cells.items())
    ]


SAME_TEXT = 1e-6  # KLD: what is no more is exact attention in other roundings


def _task_rows(exact, own, kld):
    """Numbers of each task of a variant beside exact attention's.

    A task is not tested where the variant changes the text, by its KLD, and no item of
    the task: a share that is left has no error then.
    """
    rows = {}
    changes_text = kld is not None and kld > SAME_TEXT
    for name, summary in own.items():
        if name not in exact:
            continue
        change, error = _paired(exact[name], summary)
        able = scores.can_do(exact[name])
        tested = not (changes_text and scores.untouched(exact[name], summary))
        rows[name] = {
            "able": able,
            "tested": tested,
            "chance": summary["chance"],
            "accuracy": summary["accuracy"],
            "accuracy_error": summary["accuracy_error"],
            "margin": summary["margin"],
            "margin_change": change,
            "margin_change_error": error,
            "logp": summary["logp"],
            "documents": summary["documents"],
            "by_depth": by_depth(summary),
            "retained": scores.retained(exact[name], summary) if able else None,
            "retained_error": (
                scores.retained_error(exact[name], summary)
                if able and tested
                else None
            ),
        }
    return rows


def _worst(tasks):
    """(name, numbers) of the worst task that was tested, or else of one that can be."""
    able = {name: task for name, task in tasks.items() if task["able"]}
    these = {name: task for name, task in able.items() if task["tested"]} or able
    least = lambda name: (these[name]["retained"], name)
    worst = min(these, key=least, default=None)
    return worst, these.get(worst, {})


def rows_of(entries):
    """Rows of a file's last run, exact attention first: dicts.

    spec, lm ({text: numbers}), kernel, tasks; kld and ln_ratio (of the text that
    suffers most), worst_task, worst_share, worst_share_error, worst_tested, verdict,
    rung, model_seconds; refused and beneath_refused, sentences: of a text or a task, and of
    the numbers of attention alone. The verdict is "none" where a text or a task was
    refused or not run; numbers of attention have no part in it. It is of all texts.
    """
    header, found = asked(entries)
    by_spec, asked_of = {}, {tuple(case) for case in header.get("asked", [])}
    for entry in found.values():
        spec = by_spec.setdefault(
            entry["spec"],
            {
                "lm": {},
                "tasks": {},
                "kernel": None,
                "layers": [],
                "refused": None,
                "beneath_refused": None,
                "ran": set(),
            },
        )
        spec["ahead"] = entry.get("selects_ahead", False)
        spec["fit"] = entry.get("fit")
        beneath = entry["task"] in BENEATH
        if not beneath:
            asked_of.add((entry["task"], entry["input"]))
        if entry["status"] != "OK":
            which = "beneath_refused" if beneath else "refused"
            spec[which] = entry["reason"] or entry["status"]
            continue
        spec["ran"].add((entry["task"], entry["input"]))
        if entry["task"] == "layers":
            spec["layers"] = entry["accuracy"]["layers"]
        elif entry["task"] == "lm":
            spec["lm"][entry["input"]] = {**entry["accuracy"], **entry["cost"]}
        elif entry["task"] == "kernel":
            spec["kernel"] = {**entry["accuracy"], **entry["cost"]}
        else:
            spec["tasks"][entry["task"]] = entry["accuracy"]
    exact = by_spec.get("exact", {"tasks": {}, "lm": {}, "ran": set()})
    rows = []
    for name in sorted(by_spec, key=lambda s: (s != "exact",)):
        own = by_spec[name]
        texts = list(own["lm"].values()) if name != "exact" else []
        text = max(texts, key=lambda numbers: numbers["kld"], default=None)
        tasks = _task_rows(exact["tasks"], own["tasks"], text and text["kld"])
        row = {"spec": name, **own, "tasks": tasks, "kld": None, "ln_ratio": None}
        if own["lm"]:
            row["model_seconds"] = sum(t["model_s"] for t in own["lm"].values())
            row["attention_seconds"] = sum(t["attention_s"] for t in own["lm"].values())
        if name != "exact":
            if text:
                for key in ("kld", "kld_error", "ln_ratio", "ln_ratio_error"):
                    row[key] = text[key]
                row["same_top"] = text["same_top"]
                row["rung"] = scores.rung(row["kld"])
            row["worst_task"], worst = _worst(tasks)
            row["worst_share"] = worst.get("retained")
            row["worst_share_error"] = worst.get("retained_error")
            row["worst_tested"] = worst.get("tested")
            complete = not own["refused"] and asked_of <= own["ran"] & exact["ran"]
            row["verdict"] = "none"
            if complete:
                able = [t for t in tasks.values() if t["able"]]
                row["verdict"] = scores.verdict(
                    [(t["kld"], t["kld_error"]) for t in texts],
                    [(t["retained"], t["retained_error"]) for t in able],
                )
        row.pop("ran")
        rows.append(row)
    return rows


def number(value, digits=3):
    """Short text of a number; a dash for none."""
    if value is None:
        return "-"
    if value != 0 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"


def with_error(value, error, digits=3):
    return (
        number(value, digits)
        if error is None
        else f"{number(value, digits)}±{number(error, digits)}"
    )


def columns(rows):
    """[(heading, function of a row)] of the main table."""
    tasks = list(dict.fromkeys(n for r in rows for n in r["tasks"]))

    def of_kernel(key, digits):
        def cell(row):
            if row["kernel"]:
                return number(row["kernel"][key], digits)
            return "refused" if row.get("beneath_refused") else "-"

        return cell

    def task_cell(name):
        def cell(row):
            task = row["tasks"].get(name)
            if task is None:
                return "-"
            text = f"{100 * task['accuracy']:.0f}%"
            if row["spec"] != "exact":
                text += f" {task['margin_change']:+.2f}"
            return text if task["able"] else f"({text})"

        return cell

    def worst(row):
        if row.get("worst_task") is None:
            return "-"
        if not row["worst_tested"]:
            return "not tested"
        share, error = row["worst_share"], row["worst_share_error"]
        spread = "" if error is None else f"±{100 * error:.0f}"
        return f"{row['worst_task']} {100 * share:.0f}{spread}%"

    return [
        ("variant", lambda r: r["spec"]),
        ("KLD", lambda r: with_error(r["kld"], r.get("kld_error"), 4)),
        (
            "ln PPL ratio",
            lambda r: with_error(r["ln_ratio"], r.get("ln_ratio_error")),
        ),
        ("same top", lambda r: number(r.get("same_top"))),
        ("like", lambda r: r.get("rung", "-")),
        *((name, task_cell(name)) for name in tasks),
        ("worst task", worst),
        ("verdict", lambda r: r.get("verdict", "-")),
        ("density", of_kernel("density", 3)),
        ("mass", of_kernel("mass", 3)),
        ("rel L2", of_kernel("rel_l2", 3)),
        ("attention time", of_kernel("time_ratio", 2)),
        ("choosing", of_kernel("choosing_share", 2)),
        ("model s", lambda r: number(r.get("model_seconds"), 1)),
    ]


def text_table(rows):
    """The main table as lines of text."""
    heads = columns(rows)
    cells = [[name for name, _ in heads]]
    cells += [[str(read(row)) for _, read in heads] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in cells
    )


def warnings(rows):
    """Sentences that a reader of the table must know."""
    lines = []
    exact = next((r for r in rows if r["spec"] == "exact"), None)
    for name, task in (exact["tasks"] if exact else {}).items():
        if not task["able"]:
            right, chance = 100 * task["accuracy"], 100 * task["chance"]
            lines.append(
                f"{name}: this model cannot do it (accuracy {right:.0f} %, chance "
                f"{chance:.0f} %): no verdict by it"
            )
        elif task["documents"] < 2:
            lines.append(
                f"{name}: one document: its errors take items as independent, which "
                "those of a document are not"
            )
    for row in rows:
        if row["refused"]:
            lines.append(f"{row['spec']}: refused: {row['refused']}")
        if row["beneath_refused"]:
            lines.append(
                f"{row['spec']}: numbers of attention refused: {row['beneath_refused']}"
            )
        if row["ahead"]:
            lines.append(
                f"{row['spec']}: chooses by later tokens too: what stands ahead of a "
                "token may have helped to predict it"
            )
        if row["fit"]:
            fit = row["fit"]
            lines.append(
                f"{row['spec']}: fitted on {fit['tokens']} tokens of {fit['text']}; its "
                f"weights there are {fit['divergence']:.2f} nats (KL) from softmax's"
            )
        numbers = row["kernel"]
        mass = numbers.get("worst_layer_mass") if numbers else None
        if mass is not None and mass < STARVED:
            lines.append(
                f"{row['spec']}: starves layer {numbers['worst_layer']}, which keeps "
                f"{100 * mass:.0f} % of its attention; see --dense-layers"
            )
    return lines
