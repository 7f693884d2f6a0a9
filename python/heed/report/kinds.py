# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The kinds of results that a report takes: what each shows, and what it holds."""

from dataclasses import dataclass
from typing import Callable

OBJECT, LIST, TEXT, NUMBER = dict, list, str, (int, float)
MAYBE = (int, float, type(None))


@dataclass(frozen=True)
class Kind:
    """A kind of result: what it shows, the command that makes it, and its form.

    form: of an object {field: form}, where a field "name?" may be missing and "*"
    stands for all; of a list [form of each entry]; of anything else its types, which
    may be an object's or null (_Nullable).
    about: the part of a result that says its model, machine and time.
    """

    shows: str
    command: str
    form: dict
    about: Callable


@dataclass(frozen=True)
class _Nullable:
    form: dict


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
    "input": {"metadata": OBJECT, "layers": LIST},
    "environment": {"cpu": TEXT},
    "rows": [
        {
            "name": TEXT,
            "variant": TEXT,
            "gate": TEXT,
            "rel_l2": MAYBE,
            "speedup?": MAYBE,
        }
    ],
}
_SWEPT = {
    "name": TEXT,
    "efficiency": TEXT,
    "efficiency_length": MAYBE,
    "time": [MAYBE],
    "speedup": [MAYBE],
}
_BY_DEPTH = {"by_depth?": (list, type(None))}
_TASK = {
    "able": bool,
    "accuracy": NUMBER,
    "margin_change": MAYBE,
    "documents": int,
    **_BY_DEPTH,
}
_KERNEL = {
    "density": MAYBE,
    "mass": MAYBE,
    "rel_l2": NUMBER,
    "rel_l2_worst_head": NUMBER,
    "time_ratio": MAYBE,
    "choosing_share": MAYBE,
    "worst_layer_mass?": NUMBER,
}
_ROW = {
    "spec": TEXT,
    "lm": {"*": {"positions": [[NUMBER]]}},
    "tasks": {"*": _TASK},
    "kernel": _Nullable(_KERNEL),
    "kld": MAYBE,
    "ln_ratio": MAYBE,
    "ahead": bool,
    "beneath_refused?": (str, type(None)),
    "verdict?": TEXT,
    "worst_share?": MAYBE,
    "worst_share_error?": MAYBE,
}
_RHO = {"predictor": TEXT, "harm": TEXT, "rho": NUMBER, "variants": int}
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
_BUCKET = {"first": int, "last": int, "loss": NUMBER, "change?": NUMBER}
_OF_RUN = lambda result: result["run"]
_OF_ITSELF = lambda result: result

KINDS = {
    "eval": Kind(
        "what variants cost the model",
        "heed eval --preset standard --json eval.json",
        {
            "run": {**_RUN, "tokens": int},
            "rows": [_ROW],
            "predictions": [_RHO],
            "warnings": LIST,
        },
        _OF_RUN,
    ),
    "needles": Kind(
        "needles at several lengths",
        "heed eval --tasks lm,needle --length 512,1024,2048 --json needles.json",
        {"run": _RUN, "rows": [{"spec": TEXT, "tasks": {"*": _BY_DEPTH}}]},
        _OF_RUN,
    ),
    "layers": Kind(
        "each variant in one layer alone",
        "heed eval --tasks lm,needle --by-layer --json layers.json",
        {
            "run": _RUN,
            "layer_points": [{"spec": TEXT, "layer": int, "kld": NUMBER}],
            "layer_predictions": [{**_RHO, "points": int}],
        },
        _OF_RUN,
    ),
    "heads": Kind(
        "what each head does",
        "heed heads --ablate mean --prune --out heads.json",
        {
            **_RUN,
            "heads": [
                {
                    "layer": int,
                    "head": int,
                    "type": TEXT,
                    "retrieval": NUMBER,
                    "entropy_norm": NUMBER,
                }
            ],
            "ablation?": {"significant": int, "by_chance": NUMBER},
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
                "curves": {"*": [_POINT]},
                "random": [[_POINT]],
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
            "rows": [
                {
                    "heads": int,
                    "head_dim": int,
                    "loss": NUMBER,
                    "loss_error": MAYBE,
                    "change": NUMBER,
                    "change_error": MAYBE,
                    "published_perplexity?": MAYBE,
                }
            ],
        },
        _OF_ITSELF,
    ),
    "facts": Kind(
        "facts and context",
        "heed facts --out facts.json",
        {
            **_RUN,
            "baseline": {"needles_margin": NUMBER, "facts_margin": NUMBER},
            "rows": [
                {
                    "name": TEXT,
                    "needles_margin": NUMBER,
                    "needles_margin_error": MAYBE,
                    "facts_margin": NUMBER,
                    "facts_margin_error": MAYBE,
                }
            ],
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
                    "needle_change": NUMBER,
                    "induction_change": NUMBER,
                }
            ],
            "length?": {
                "tokens": int,
                "trained": int,
                "rows": [{"scaling": TEXT, "buckets": [_BUCKET]}],
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
                    "not_like_for_like": LIST,
                    "numbers": [{"what": TEXT, "published": TEXT, "ours": MAYBE}],
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
        {**_COMPARISON, "sweep": {"tokens": [int], "rows": [_SWEPT]}},
        _OF_ITSELF,
    ),
}
COMPARISONS = ("compare", "lengths")
OF_EVAL = ("eval", "needles", "layers")  # whose lines can stand for them
_NEVER_EMPTY = ("rows", "heads")


def option_of(name):
    """How the command line calls a kind."""
    return "--" + name.replace("_", "-")


def wrong_in(found, form, where=""):
    """The first field that is not there as its form says, or None."""
    if isinstance(form, _Nullable):
        return None if found is None else wrong_in(found, form.form, where)
    if isinstance(form, dict):
        if not isinstance(found, dict):
            return where or "it is no object"
        inner = [(name, form["*"]) for name in found] if "*" in form else form.items()
        for name, of in inner:
            field = name.rstrip("?")
            place = f"{where}.{field}" if where else field
            if field not in found:
                if name.endswith("?"):
                    continue
                return place
            wrong = wrong_in(found[field], of, place)
            if wrong:
                return wrong
        return None
    if isinstance(form, list):
        if not isinstance(found, list) or where in _NEVER_EMPTY and not found:
            return where
        each = (wrong_in(of, form[0], f"{where}[{i}]") for i, of in enumerate(found))
        return next((wrong for wrong in each if wrong), None)
    right = isinstance(found, form) and (form is bool or not isinstance(found, bool))
    return None if right else where
