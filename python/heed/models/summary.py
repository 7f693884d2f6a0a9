# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What `heed eval --json` writes, which `heed report` reads."""

from heed.models import predictions, rows


def _unfinished(header, found):
    """A sentence where a run was stopped before its last case."""
    asked = len(set(header["cases"]))
    if len(found) == asked:
        return []
    return [f"{asked - len(found)} of {asked} cases were not run"]


def of(entries):
    """The run, its rows, what predicts harm, and warnings, of a file's last run."""
    header, found = rows.asked(entries)
    table = rows.rows_of(entries)
    points = predictions.layer_points(table)
    for row in table:
        row.pop("layers")
        if row["kernel"]:
            row["kernel"] = {k: v for k, v in row["kernel"].items() if k != "layers"}
    return {
        "run": {k: v for k, v in header.items() if k not in ("asked", "cases")},
        "rows": table,
        "predictions": predictions.of_variants(table),
        "layer_points": points,
        "layer_predictions": predictions.of_layers(points),
        "warnings": rows.warnings(table) + _unfinished(header, found),
    }
