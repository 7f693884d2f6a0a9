# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The results that a report is made of: files of heed's commands, of one model."""

import json
import pathlib

from heed.models import results, summary
from heed.models.errors import InputError
from heed.report.forms import wrong_in
from heed.report.kinds import COMPARISONS, KINDS, OF_EVAL, option_of


def _refuse_constant(name):
    raise ValueError(f"{name} is no number of JSON")


def _loaded(option, path, of_eval):
    """What a file holds; of_eval: lines of `heed eval --out` become its --json."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise InputError(f"{option} {path}: {reason}") from None
    if of_eval and text.startswith(('{"run":', '{"key":')) and "\n{" in text:
        entries, _ = results.read_lines(path)
        if not any("run" in entry for entry in entries):
            raise InputError(f"{option} {path}: says of no run what it was")
        return summary.of(entries)
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InputError(f"{option} {path}: is no JSON") from None


def _checked(name, option, path):
    kind, found = KINDS[name], _loaded(option, path, name in OF_EVAL)
    wrong = wrong_in(found, kind.form)
    if wrong:
        raise InputError(
            f"{option} {path}: is not what `{kind.command}` writes, or an older heed's: "
            f"{wrong}"
        )
    if name in COMPARISONS and found["format"] != "heed-compare-1":
        raise InputError(f"{option} {path}: is of the format {found['format']}")
    return found


def model_of(name, result):
    """(name, SHA-256) of a result's model; None where it says none, as drawn tensors."""
    if name in COMPARISONS:
        meta = result["input"]["metadata"]
        return meta.get("model"), meta.get("model_file_sha256")
    about = KINDS[name].about(result)
    return about.get("model"), about.get("model_sha256")


def _refuse_mixed(found, paths):
    """Raises InputError where two results are of different models."""
    first = None
    for name, result in found.items():
        model, sha256 = model_of(name, result)
        if sha256 is None:
            continue
        if first is None:
            first = (name, model, sha256)
        elif sha256 != first[2]:
            raise InputError(
                f"{paths[name]}: is of {model} ({sha256[:12]}), but {paths[first[0]]} "
                f"is of {first[1]} ({first[2][:12]}): a report is of one model"
            )


def read(folder, given):
    """{name: result} in the order of KINDS.

    folder: results are found in it by name, or None; given: {name: path}, which go
    before. Raises InputError for a file that is not what its name says, and for
    results of two models.
    """
    paths, options = {}, {}
    if folder is not None and not pathlib.Path(folder).is_dir():
        raise InputError(f"--folder {folder}: is no folder")
    for name in KINDS:
        if given.get(name):
            paths[name], options[name] = given[name], option_of(name)
        elif folder is not None:
            for ending in (".json", *((".jsonl",) if name in OF_EVAL else ())):
                path = pathlib.Path(folder) / (name + ending)
                if path.is_file():
                    paths[name], options[name] = str(path), "--folder:"
                    break
    if not paths:
        where = "no option names" if folder is None else f"--folder {folder}: has"
        raise InputError(f"{where} none of {', '.join(f'{n}.json' for n in KINDS)}")
    found = {name: _checked(name, options[name], paths[name]) for name in paths}
    _refuse_mixed(found, paths)
    return found
