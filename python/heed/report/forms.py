# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What JSON must hold: forms, and the first field that is not as its form says.

A form is, of an object, {field: form}, where a field "name?" may be missing and "*"
stands for all; of a list [form of each entry], or Some or Cells of it; of a word the
set of words that it can be; of anything else its types. Nullable: or null. A function
says the form of what depends on it.
"""

from dataclasses import dataclass
from types import FunctionType
from typing import Any

OBJECT, TEXT, NUMBER = dict, str, (int, float)
MAYBE = (int, float, type(None))


@dataclass(frozen=True)
class Nullable:
    form: Any


@dataclass(frozen=True)
class Some:
    """A list that is not empty."""

    form: Any


@dataclass(frozen=True)
class Cells:
    """A list of as many entries, a form each."""

    forms: tuple


def _wrong_object(found, form, where):
    if not isinstance(found, dict):
        return where or "it is no object"
    form = form(found) if isinstance(form, FunctionType) else form
    inner = [(name, form["*"]) for name in found] if "*" in form else form.items()
    for name, of in inner:
        field = name.rstrip("?")
        place = f"{where}.{field}" if where else field
        if field in found:
            wrong = wrong_in(found[field], of, place)
        else:
            wrong = None if name.endswith("?") else place
        if wrong:
            return wrong
    return None


def _wrong_list(found, form, where):
    if not isinstance(found, list) or isinstance(form, Some) and not found:
        return where
    if isinstance(form, Cells):
        if len(found) != len(form.forms):
            return where
        forms = form.forms
    else:
        of = form.form if isinstance(form, Some) else form[0]
        forms = [of] * len(found)
    each = (
        wrong_in(entry, of, f"{where}[{i}]")
        for i, (entry, of) in enumerate(zip(found, forms))
    )
    return next((wrong for wrong in each if wrong), None)


def wrong_in(found, form, where=""):
    """The first field that is not there as its form says, or None."""
    if isinstance(form, Nullable):
        return None if found is None else wrong_in(found, form.form, where)
    if isinstance(form, (list, Some, Cells)):
        return _wrong_list(found, form, where)
    if isinstance(form, set):
        return None if isinstance(found, str) and found in form else where
    if isinstance(form, (dict, FunctionType)):
        return _wrong_object(found, form, where)
    right = isinstance(found, form) and (form is bool or not isinstance(found, bool))
    return None if right else where
