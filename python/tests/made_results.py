# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Results of heed's commands, made by hand: small, and of one model."""

from heed.models import summary
from test_models import made_up_run

ABOUT = {
    "command": "heed x --y",
    "model": "m",
    "model_sha256": "0",
    "text": "T",
    "text_sha256": "1",
    "cpu": "c",
    "versions": {"heed": "0", "target": "t"},
    "time": "now",
}


def eval_():
    return summary.of(made_up_run())


def curve(*losses, error=0.001, margin=2.0):
    return [
        {
            "share": share,
            "heads": round(20 * share),
            "loss": loss,
            "loss_error": error,
            "margin": margin - loss,
            "margin_error": 0.1,
        }
        for share, loss in zip((0.1, 0.2, 0.4), losses)
    ]


def heads(curves=None, random=None):
    found = [
        {
            "layer": i // 4,
            "head": i % 4,
            "entropy": 1.0,
            "entropy_norm": 0.5,
            "sink": 0.7,
            "retrieval": 0.2 if i == 5 else 0.0,
            "type": "retrieval" if i == 5 else "sink",
        }
        for i in range(20)
    ]
    result = {**ABOUT, "tokens": 512, "heads": found}
    result["ablation"] = {
        "how": "mean",
        "significant": 7,
        "by_chance": 1.0,
        "beyond_3.5_errors": 3,
    }
    if curves is not None:
        result["pruning"] = {
            "margin": 2.0,
            "margin_error": 0.1,
            "curves": curves,
            "random": random or [curve(0.5, 1.0, 2.0), curve(0.4, 1.1, 2.1)],
        }
    return result


def fact_row(name, needles, facts, error=0.1):
    return {
        "name": name,
        "needles_margin": needles,
        "needles_margin_error": error,
        "needles_right": 0.5,
        "facts_margin": facts,
        "facts_margin_error": error,
        "facts_right": 0.5,
        "loss": 0.1,
        "loss_error": 0.01,
    }


def facts(*rows):
    baseline = {"needles_margin": 2.0, "needles": 8, "needles_right": 7}
    baseline.update(facts_margin=4.0, facts_asked=9, facts_known=6)
    return {**ABOUT, "baseline": baseline, "rows": list(rows)}


def comparison(sweep=None):
    rows = [
        {
            "name": "exact",
            "variant": "exact",
            "gate": "ok",
            "rel_l2": 1e-7,
            "speedup": 1,
        },
        {
            "name": "near:k=1",
            "variant": "near",
            "gate": "ok",
            "rel_l2": 0.1,
            "speedup": 2,
        },
        {"name": "far:k=2", "variant": "far", "gate": "wrong", "rel_l2": None},
    ]
    made = {
        "format": "heed-compare-1",
        "command": "heed compare near",
        "began": "then",
        "run": {"at": "mass=0.95", "target": "t"},
        "environment": {"cpu": "c"},
        "input": {"metadata": {"model": "m", "model_file_sha256": "0"}, "layers": []},
        "rows": rows,
    }
    if sweep is not None:
        swept = [
            {"name": "exact", "efficiency": "none", "efficiency_length": None},
            *(
                {"name": n, "efficiency": e, "efficiency_length": l}
                for n, e, l in sweep
            ),
        ]
        for row in swept:
            row.update(time=[1.0, 4.0], speedup=[0.5, 2.0])
            row.update(efficiency_shortest=600.0, efficiency_longest=None)
        made["sweep"] = {"tokens": [512, 1024], "rows": swept}
    return made


def layers():
    points = [
        {
            "spec": "near:k=1",
            "layer": layer,
            "kld": kld,
            "mass lost": 0.1,
            "density": 0.5,
        }
        for layer, kld in enumerate((0.1, 0.2))
    ]
    rho = {"predictor": "mass lost", "harm": "KLD", "rho": 0.25, "variants": 1}
    return {
        "run": ABOUT,
        "layer_points": points,
        "layer_predictions": [{**rho, "points": 2}],
    }


def head_count():
    rows = [(1, 64, 2.5, 0.125), (4, 16, 2.375, 0.0), (8, 8, 2.5, 0.25)]
    return {
        "command": "head_count.py",
        "cpu": "c",
        "rows": [
            {
                "heads": heads,
                "head_dim": width,
                "loss": loss,
                "loss_error": 0.01,
                "change": change,
                "change_error": 0.005 if change else None,
                "published_perplexity": None,
            }
            for heads, width, loss, change in rows
        ],
    }


def positions():
    turn = {
        "name": "removed",
        "loss": 7.5,
        "loss_change": 4.0,
        "loss_change_error": 0.25,
    }
    for task in ("needle", "induction"):
        turn.update({f"{task}_change": -2.0, f"{task}_change_error": 0.5})
    buckets = [{"first": 1, "last": 2048, "loss": 3.0}]
    buckets += [{**buckets[0], "first": 2049, "change": 0.5, "change_error": 0.125}]
    return {
        "run": ABOUT,
        "order": {"layers": {"permuted": {"keys": {"rel_l2": 1e-7, "equal": 0.04}}}},
        "turns": [turn],
        "length": {
            "tokens": 4096,
            "trained": 2048,
            "rows": [{"scaling": "YaRN", "buckets": buckets}],
        },
        "not_measured": {"depth": "it has <none>"},
    }


def bars():
    number = {"what": "factor", "published": "10", "ours": 1.5, "error": None}
    bar = {
        "title": "Sinks",
        "source": "Xiao 2023",
        "rule": "ten times",
        "label": "not seen",
        "reason": None,
        "not_like_for_like": ["another model"],
        "numbers": [number, {**number, "what": "share", "published": "-"}],
    }
    return {"run": ABOUT, "bars": [bar, {**bar, "numbers": [], "reason": "no text"}]}


def all_of():
    """A folder's worth."""
    return {
        "eval": eval_(),
        "layers": layers(),
        "heads": heads({"taylor": curve(0.001, 0.005, 0.5)}),
        "facts": facts(fact_row("window everywhere", -1.8, -0.4)),
        "compare": comparison(),
        "lengths": comparison([("near:k=1", "crosses", 700.0)]),
    }
