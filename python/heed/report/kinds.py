# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The kinds of results that a report takes: what each shows, and what it holds."""

from dataclasses import dataclass
from typing import Callable

from heed.models import head_scores
from heed.models.atlas import COLOURS
from heed.report.forms import MAYBE, NUMBER, OBJECT, TEXT, Cells, Nullable, Some


@dataclass(frozen=True)
class Kind:
    """A kind of result: what it shows, the command that makes it, and its form.

    form: as forms.py says. about: the part of a result that says its model, machine
    and time.
    """

    shows: str
    command: str
    form: dict
    about: Callable


_RUN = {
    "command": TEXT,
    "model": TEXT,
    "model_sha256": TEXT,
    "cpu": TEXT,
    "time": TEXT,
    "versions?": OBJECT,
    "text?": TEXT,
    "text_sha256?": TEXT,
    "texts?": {"*": {"label": TEXT, "sha256": TEXT}},
}
_COMPARISON = {
    "format": TEXT,
    "command": TEXT,
    "run": OBJECT,
    "input": {"metadata": OBJECT, "layers": list},
    "environment": {"cpu": TEXT},
    "rows": Some(
        {
            "name": TEXT,
            "variant": TEXT,
            "gate": TEXT,
            "rel_l2": MAYBE,
            "speedup?": MAYBE,
        }
    ),
}
_SWEPT = lambda row: {
    "name": TEXT,
    "efficiency": TEXT,
    "efficiency_length": NUMBER if row.get("efficiency") == "crosses" else MAYBE,
    "efficiency_shortest?": MAYBE,
    "efficiency_longest?": MAYBE,
    "time": [MAYBE],
    "speedup": [MAYBE],
}
_BY_DEPTH = {"by_depth?": Nullable([Cells((int, int, NUMBER, int))])}
_TASK = {
    "able": bool,
    "tested": bool,
    "accuracy": NUMBER,
    "margin_change": NUMBER,
    "documents": int,
    **_BY_DEPTH,
}
_KERNEL = lambda kernel: {
    "density": MAYBE,
    "mass": MAYBE,
    "rel_l2": NUMBER,
    "rel_l2_worst_head": NUMBER,
    "time_ratio": MAYBE,
    "choosing_share": MAYBE,
    **({"worst_layer_mass": NUMBER} if kernel.get("mass") is not None else {}),
}
_EXACT = {
    "spec": TEXT,
    "lm": {"*": {"positions": [[NUMBER]]}},
    "tasks": {"*": _TASK},
    "kernel": Nullable(_KERNEL),
    "kld": MAYBE,
    "ln_ratio": MAYBE,
    "ahead": bool,
    "beneath_refused?": (str, type(None)),
}
_VARIANT = {
    **_EXACT,
    "verdict": TEXT,
    "worst_task": (str, type(None)),
    "worst_share": MAYBE,
    "worst_share_error": MAYBE,
    "worst_tested": Nullable(bool),
}
_OF_TEXT = {
    "model_seconds": NUMBER,
    "attention_seconds": NUMBER,
}
_HARM = {"kld": NUMBER, "kld_error": MAYBE, "ln_ratio_error": MAYBE, "same_top": MAYBE}


def _row(row):
    """The form of a row of `heed eval`: a text was run, a task was, or neither."""
    form = dict(_EXACT if row.get("spec") == "exact" else _VARIANT)
    if row.get("lm"):
        form.update(_OF_TEXT)
    if row.get("kld") is not None:
        form.update(_HARM)
    if row.get("worst_task") is not None:
        form["worst_share"], form["worst_tested"] = NUMBER, bool
    return form


def _head(head):
    """The form of a head of `heed heads`, with the number that its type goes by."""
    keys = {name: key for name, key, _ in head_scores.RULES}
    key = keys.get(str(head.get("type")), "entropy_norm")
    return {
        "layer": int,
        "head": int,
        "type": set(COLOURS),
        "retrieval": NUMBER,
        "entropy_norm": NUMBER,
        key: NUMBER,
    }


_RHO = {"predictor": TEXT, "harm": TEXT, "rho": NUMBER, "variants": int}
_OF_LAYERS = {
    "layer_points": [{"spec": TEXT, "layer": int, "kld": NUMBER}],
    "layer_predictions": [{**_RHO, "points": int}],
}
_POINT = {
    "share": NUMBER,
    "heads": int,
    "loss": NUMBER,
    "loss_error": NUMBER,
    "other_loss?": NUMBER,
    "other_loss_error?": NUMBER,
    "margin": NUMBER,
    "margin_error": MAYBE,
}
_BUCKET = {
    "first": int,
    "last": int,
    "loss": NUMBER,
    "change?": NUMBER,
    "change_error?": MAYBE,
}
_OF_RUN = lambda result: result["run"]
_OF_ITSELF = lambda result: result

KINDS = {
    "eval": Kind(
        "what variants cost the model",
        "heed eval --preset standard --json eval.json",
        {
            "run": {**_RUN, "tokens": int},
            "rows": Some(_row),
            "predictions": [_RHO],
            **{f"{name}?": form for name, form in _OF_LAYERS.items()},
            "warnings": [TEXT],
        },
        _OF_RUN,
    ),
    "needles": Kind(
        "needles at several lengths",
        "heed eval --tasks lm,needle --length 512,1024,2048 --json needles.json",
        {"run": _RUN, "rows": Some({"spec": TEXT, "tasks": {"*": _BY_DEPTH}})},
        _OF_RUN,
    ),
    "layers": Kind(
        "each variant in one layer alone",
        "heed eval --tasks lm,needle --by-layer --json layers.json",
        {"run": _RUN, **_OF_LAYERS},
        _OF_RUN,
    ),
    "heads": Kind(
        "what each head does",
        "heed heads --ablate mean --prune --out heads.json",
        {
            **_RUN,
            "heads": Some(_head),
            "ablation?": {
                "significant": int,
                "by_chance": NUMBER,
                "beyond_3.5_errors": int,
            },
            "rankings?": [
                {
                    "a": TEXT,
                    "b": TEXT,
                    "rho": MAYBE,
                    "shared": int,
                    "top": int,
                    "by_chance": NUMBER,
                }
            ],
            "pruning?": {
                "margin": NUMBER,
                "margin_error": MAYBE,
                "curves": {"*": Some(_POINT)},
                "random": [Some(_POINT)],
            },
        },
        _OF_ITSELF,
    ),
    "head_count": Kind(
        "models trained with more or fewer heads",
        "python3 bench/studies/head_count.py --json head_count.json",
        {
            "command": TEXT,
            "cpu": TEXT,
            "rows": Some(
                {
                    "heads": int,
                    "head_dim": int,
                    "loss": NUMBER,
                    "loss_error": MAYBE,
                    "change": NUMBER,
                    "change_error": MAYBE,
                    "published_perplexity?": MAYBE,
                }
            ),
        },
        _OF_ITSELF,
    ),
    "facts": Kind(
        "facts and context",
        "heed facts --out facts.json",
        {
            **_RUN,
            "baseline": {"needles_margin": NUMBER, "facts_margin": NUMBER},
            "rows": Some(
                {
                    "name": TEXT,
                    "needles_margin": NUMBER,
                    "needles_margin_error": MAYBE,
                    "facts_margin": NUMBER,
                    "facts_margin_error": MAYBE,
                }
            ),
        },
        _OF_ITSELF,
    ),
    "positions": Kind(
        "what positions are for",
        "heed positions --json positions.json",
        {
            "run": _RUN,
            "not_measured": {"*": TEXT},
            "order?": {
                "layers?": {"permuted": {"*": {"rel_l2": NUMBER, "equal": NUMBER}}}
            },
            "turns?": [
                {
                    "name": TEXT,
                    "loss": NUMBER,
                    "loss_change": NUMBER,
                    "loss_change_error?": MAYBE,
                    "needle_change": NUMBER,
                    "needle_change_error?": MAYBE,
                    "induction_change": NUMBER,
                    "induction_change_error?": MAYBE,
                }
            ],
            "length?": {
                "tokens": int,
                "trained": int,
                "rows": Some({"scaling": TEXT, "buckets": [_BUCKET]}),
            },
        },
        _OF_RUN,
    ),
    "bars": Kind(
        "published results, redone",
        "heed bars --json bars.json",
        {
            "run": _RUN,
            "bars": [
                {
                    "title": TEXT,
                    "source": TEXT,
                    "rule": TEXT,
                    "label": TEXT,
                    "reason?": (str, type(None)),
                    "not_like_for_like": [TEXT],
                    "numbers": [
                        {
                            "what": TEXT,
                            "published": TEXT,
                            "ours": MAYBE,
                            "error?": MAYBE,
                        }
                    ],
                }
            ],
        },
        _OF_RUN,
    ),
    "compare": Kind(
        "variants on captured tensors",
        "heed compare --json compare.json window_sink:window=64,256 block_topk",
        _COMPARISON,
        _OF_ITSELF,
    ),
    "lengths": Kind(
        "time against length",
        "heed compare --tokens 256,512,1024,2048,4096 --json lengths.json",
        {**_COMPARISON, "sweep": {"tokens": Some(int), "rows": [_SWEPT]}},
        _OF_ITSELF,
    ),
}
COMPARISONS = ("compare", "lengths")
OF_EVAL = ("eval", "needles", "layers")  # whose lines can stand for them


def option_of(name):
    """How the command line calls a kind."""
    return "--" + name.replace("_", "-")
