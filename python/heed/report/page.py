# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The page of `heed report`, from results that inputs.read() has checked."""

import html
import pathlib

import heed
from heed.models import head_scores, page as pages, places, predictions, scores
from heed.models.atlas import COLOURS
from heed.report import answers, inputs, others, sections

_HERE = pathlib.Path(__file__).parent
_SCRIPTS = ("variants.js", "heads.js", "main.js")
CAP = 4.0  # shares taken beyond it are drawn up to it


def _kernel_rows(comparison):
    """Rows of a comparison that passed, with their time over exact attention's."""
    if comparison is None:
        return []
    shown = []
    for row in comparison["rows"]:
        if row["gate"] == "ok" and row.get("speedup") and row["variant"] != "exact":
            shown.append(
                {
                    "name": row["name"],
                    "time": 1 / row["speedup"],
                    "rel_l2": row["rel_l2"],
                    "density": row.get("density"),
                }
            )
    return shown


def _variants(eval_):
    """What pictures show of each variant."""
    shown = []
    for row in eval_["rows"] if eval_ else []:
        if row["spec"] == "exact":
            continue
        kernel, harms = row["kernel"], {"KLD": row["kld"]}
        for name, task in row["tasks"].items():
            if task["able"] and task["tested"]:
                harms[f"{name} margin lost"] = -task["margin_change"]
        shown.append(
            {
                "spec": row["spec"],
                "kld": row["kld"],
                "time": kernel["time_ratio"] if kernel else None,
                "share": row.get("worst_share") if row.get("worst_tested") else None,
                "task": row.get("worst_task"),
                "verdict": row.get("verdict", "none"),
                "harms": harms,
                "positions": {k: v["positions"] for k, v in row["lm"].items()},
                "predictors": kernel
                and {n: read(kernel) for n, read in predictions.PREDICTORS.items()},
            }
        )
    return shown


def _sweep(comparison):
    """Of a sweep, the rows that cross exact attention's time, over it."""
    if comparison is None:
        return None
    shown = []
    for _, row in answers.crossings(comparison):
        shown.append(
            {
                "name": row["name"],
                "time": [1 / s if s else None for s in row["speedup"]],
            }
        )
    return {"tokens": comparison["sweep"]["tokens"], "rows": shown} if shown else None


def _atlas(heads):
    """Cells of each layer: a colour, the paler the weaker, and lines for the pointer."""
    if heads is None:
        return None
    by_type = {name: key for name, key, _ in head_scores.RULES}
    layers = {}
    for head in heads["heads"]:
        key = by_type.get(head["type"])
        strength = (
            0.5 if key is None else head["entropy_norm" if key == "entropy" else key]
        )
        alpha = round(255 * min(1, max(0.3, strength)))
        lines = [f"{n} {v:.3g}" for n, v in head.items() if isinstance(v, float)]
        layers.setdefault(head["layer"], []).append(
            {
                "colour": f"{COLOURS[head['type']]}{alpha:02x}",
                "lines": [head["type"], *lines],
            }
        )
    types = [rule[0] for rule in head_scores.RULES] + ["mixed"]
    count = lambda name: sum(head["type"] == name for head in heads["heads"])
    return {
        "layers": [layers[layer] for layer in sorted(layers)],
        "types": [
            {"name": name, "colour": COLOURS[name], "heads": count(name)}
            for name in types
        ],
    }


def _pruning(heads):
    if heads is None or "pruning" not in heads:
        return None
    return {k: heads["pruning"][k] for k in ("margin", "curves", "random")}


def drawn(results):
    """The data of the page's pictures."""
    eval_, heads = results.get("eval"), results.get("heads")
    variants = _variants(eval_)
    pruning = _pruning(heads)
    first = next(iter(pruning["curves"].values()), None) if pruning else None
    points = (results.get("layers") or eval_ or {}).get("layer_points") or []
    caches = {
        v["spec"]: v["kld"]
        for v in variants
        if v["spec"] in places.YARDSTICKS and v["kld"]
    }
    exact = (
        next((r for r in eval_["rows"] if r["spec"] == "exact"), None)
        if eval_
        else None
    )
    facts = results.get("facts")
    known = facts and facts["baseline"]["facts_margin"] > 0
    return {
        "semantics": {v["name"]: v["semantics"] for v in heed.variants()},
        "kernel": _kernel_rows(results.get("compare")),
        "variants": variants,
        "guides": {**scores.LADDER, **caches},
        "exactPositions": (
            {k: v["positions"] for k, v in exact["lm"].items()} if exact else {}
        ),
        "sweep": _sweep(results.get("lengths")),
        "predictors": list(predictions.PREDICTORS),
        "harms": list(dict.fromkeys(name for v in variants for name in v["harms"])),
        "layerPoints": points,
        "layerPredictors": list(predictions.LAYER_PREDICTORS),
        "layerHarms": {
            name: key
            for name, key in (("KLD", "kld"), ("needle margin lost", "margin_lost"))
            if any(key in point for point in points)
        },
        "atlas": _atlas(heads),
        "pruning": pruning,
        "lossOf": "other_loss" if first and "other_loss" in first[0] else "loss",
        "effects": answers.effects(facts) if known else [],
        "cap": CAP,
    }


def _title(results):
    models = (inputs.model_of(name, result)[0] for name, result in results.items())
    model = next((model for model in models if model), "a model")
    return f"What attention costs, keeps and does in {model}"


def page(results, command=None):
    """The whole page as text.

    command: of `heed report`; without, the page is that of one command alone, which
    does not say what others would add.
    """
    eval_, heads, data = results.get("eval"), results.get("heads"), drawn(results)
    warnings = eval_["warnings"] if eval_ else []
    items = lambda lines: "".join(f"<li>{line}</li>" for line in lines)
    missing = [
        f"{html.escape(kind.shows)}: <code>{html.escape(kind.command)}</code>"
        for kind in (sections.missing(results) if command else [])
    ]
    asked = [
        a for a in answers.all_of(results) if command or a["word"] != "not measured"
    ]
    beyond = [
        effect["name"]
        for effect in data["effects"]
        if max(effect["needles"], effect["facts"]) > CAP
    ]
    return pages.filled(
        _HERE / "page.html",
        {
            "HEED_TITLE": html.escape(_title(results)),
            "HEED_ANSWERS": sections.answered(asked),
            "HEED_LENGTHS": sections.crossings(results.get("lengths")),
            "HEED_GRIDS": sections.grids(results.get("needles") or eval_),
            "HEED_PREDICTIONS": sections.predictors(
                eval_, results.get("layers") or eval_
            ),
            "HEED_RANKINGS": sections.rankings(heads),
            "HEED_OTHERTEXT": html.escape(sections.other_text(heads)),
            "HEED_CAPPED": html.escape(
                f"Beyond the picture: {', '.join(beyond)}." if beyond else ""
            ),
            "HEED_MORE": others.sections(results),
            "HEED_TABLE": sections.variants(eval_),
            "HEED_WARNINGS": items(map(html.escape, warnings)),
            "HEED_MISSING": items(missing),
            "HEED_FOOTER": sections.footer(results, command),
            "HEED_DATA": pages.data(data),
            "HEED_SCRIPT": "\n".join(
                (_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS
            ),
        },
    )


def write(path, results, command=None):
    """Writes the page, or nothing. Raises InputError where it cannot."""
    pages.write(path, page(results, command))
