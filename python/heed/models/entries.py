# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a line of results must hold for a table to be made of it."""

_NUMBER = (int, float)
_MAYBE = (int, float, type(None))

# By task, of a result whose status is OK: what stands in it.
_LM_EXACT = {"ppl": _NUMBER, "positions": list}
_LM = {
    "kld": _NUMBER,
    "kld_error": _MAYBE,
    "ln_ratio": _NUMBER,
    "ln_ratio_error": _MAYBE,
    "same_top": _NUMBER,
    "positions": list,
}
_LM_COST = {"model_s": _NUMBER, "attention_s": _NUMBER}
_KERNEL = {
    "density": _MAYBE,
    "mass": _MAYBE,
    "rel_l2": _NUMBER,
    "rel_l2_worst_head": _NUMBER,
}
_KERNEL_COST = {"time_ratio": _MAYBE, "choosing_share": _MAYBE}
_KERNEL_MASS = {"worst_layer": int, "worst_layer_mass": _NUMBER}
_TASK = {
    "items": int,
    "documents": int,
    "chance": _NUMBER,
    "accuracy": _NUMBER,
    "accuracy_error": _MAYBE,
    "margin": _NUMBER,
    "logp": _NUMBER,
    "grid": list,
}
_LAYER = {"layer": int, "kld": _NUMBER, "kld_error": _MAYBE}
_RESULT = {"key": str, "spec": str, "task": str, "input": str, "status": str}
STATUSES = ("OK", "UNSUPPORTED", "NUMERICAL", "OOM", "ERROR")


def _wrong(found, fields, where=""):
    """The first of fields that is not there as it should, or None."""
    if not isinstance(found, dict):
        return where.rstrip(".") or "no object"
    for name, kinds in fields.items():
        value = found.get(name)
        there = name in found and isinstance(value, kinds)
        if not there or isinstance(value, bool):
            return where + name
    return None


def _wrong_grid(grid):
    """Whether rows of a grid are not [document, item, depth, margin, distance]."""
    return not all(
        isinstance(row, list)
        and len(row) == 5
        and all(isinstance(value, _NUMBER) for value in row)
        for row in grid
    )


def _wrong_asked(asked):
    """"run.asked" where that is no list of [task, text], which older files lack."""
    right = isinstance(asked, list) and all(
        isinstance(case, list)
        and len(case) == 2
        and all(isinstance(word, str) for word in case)
        for case in asked
    )
    return None if right else "run.asked"


def wrong_in(entry):
    """What in an entry is missing or of another type, or None where it is a result."""
    if isinstance(entry, dict) and "run" in entry:
        wrong = _wrong(entry["run"], {"cases": list}, "run.")
        keys = () if wrong else entry["run"]["cases"]
        if not wrong and not all(isinstance(key, str) for key in keys):
            wrong = "run.cases"
        return wrong or _wrong_asked(entry["run"].get("asked", []))
    wrong = _wrong(entry, _RESULT)
    if wrong:
        return wrong
    if entry["status"] not in STATUSES:
        return "status"
    if entry["status"] != "OK":
        return None if isinstance(entry.get("reason"), (str, type(None))) else "reason"
    task, exact = entry["task"], entry["spec"] == "exact"
    accuracy, cost = entry.get("accuracy"), entry.get("cost")
    if task == "bar":  # each bar knows what its own numbers are
        return _wrong(accuracy, {}, "accuracy.") or _wrong(cost, {}, "cost.")
    if task == "lm":
        wrong = _wrong(accuracy, _LM_EXACT if exact else _LM, "accuracy.")
        return wrong or _wrong(cost, _LM_COST, "cost.")
    if task == "kernel":
        wrong = _wrong(accuracy, _KERNEL, "accuracy.")
        if not wrong and accuracy["mass"] is not None:
            wrong = _wrong(accuracy, _KERNEL_MASS, "accuracy.")
        return wrong or _wrong(cost, _KERNEL_COST, "cost.")
    if task == "layers":
        wrong = _wrong(accuracy, {"layers": list}, "accuracy.")
        each = [] if wrong else (_wrong(row, _LAYER) for row in accuracy["layers"])
        return wrong or ("accuracy.layers" if any(each) else None)
    wrong = _wrong(accuracy, _TASK, "accuracy.") or _wrong(cost, {}, "cost.")
    return wrong or ("accuracy.grid" if _wrong_grid(accuracy["grid"]) else None)
