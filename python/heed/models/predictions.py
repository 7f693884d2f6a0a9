# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Which number of attention predicts what a model loses: rank correlations."""

from heed.models.rankings import rank_correlation

PREDICTORS = {
    "mass lost": lambda k: None if k["mass"] is None else 1 - k["mass"],
    "mass lost, worst layer": lambda k: (
        None if k["mass"] is None else 1 - k["worst_layer_mass"]
    ),
    "relative L2, mean of layers": lambda k: k["rel_l2"],
    "relative L2, worst head": lambda k: k["rel_l2_worst_head"],
    "density": lambda k: k["density"],
}


def _tested(row, task):
    return row["tasks"].get(task, {}).get("tested", False)


def of_variants(rows):
    """Which number of attention goes with harm: rank correlations over variants.

    A list of {"predictor", "harm", "rho", "variants"}: with KLD, and with the
    change of each task's margin that exact attention can do, where it was tested.
    """
    variants = [r for r in rows if r["spec"] != "exact" and r["kernel"]]
    able = sorted({n for r in variants for n, t in r["tasks"].items() if t["able"]})
    harms = {"KLD": lambda r: r["kld"]}
    for task in able:
        harms[f"{task} margin lost"] = lambda r, task=task: (
            -r["tasks"][task]["margin_change"] if _tested(r, task) else None
        )
    found = []
    for predictor, read in PREDICTORS.items():
        for harm, cost in harms.items():
            pairs = [(read(r["kernel"]), cost(r)) for r in variants]
            pairs = [p for p in pairs if None not in p]
            rho = rank_correlation(*zip(*pairs)) if pairs else None
            if rho is not None:
                found.append(
                    {
                        "predictor": predictor,
                        "harm": harm,
                        "rho": rho,
                        "variants": len(pairs),
                    }
                )
    return found


# By name as PREDICTORS, of a layer's own numbers.
LAYER_PREDICTORS = {
    "mass lost": lambda k: None if k["mass"] is None else 1 - k["mass"],
    "relative L2": lambda k: k["rel_l2"],
    "relative L2, worst head": lambda k: max(k["rel_l2_heads"]),
    "density": lambda k: k["density"],
}


def layer_points(rows):
    """A dict a variant and layer: spec, layer, its numbers of attention by their
    names, kld, and margin_lost where needles were asked and tested in all layers."""
    points = []
    for row in rows:
        of_layer = (row["kernel"] or {}).get("layers") or []
        for harm in row["layers"]:
            if harm["layer"] >= len(of_layer):
                continue
            point = {"spec": row["spec"], "layer": harm["layer"], "kld": harm["kld"]}
            for name, read in LAYER_PREDICTORS.items():
                point[name] = read(of_layer[harm["layer"]])
            if harm.get("margin_change") is not None and _tested(row, "needle"):
                point["margin_lost"] = -harm["margin_change"]
            points.append(point)
    return points


def of_layers(points):
    """As of_variants(), over variants and layers, each variant in one layer alone."""
    found = []
    for predictor in LAYER_PREDICTORS:
        for harm, key in (("KLD", "kld"), ("needle margin lost", "margin_lost")):
            known = [p for p in points if None not in (p[predictor], p.get(key))]
            pairs = [(p[predictor], p[key]) for p in known]
            rho = rank_correlation(*zip(*pairs)) if pairs else None
            if rho is not None:
                found.append(
                    {
                        "predictor": predictor,
                        "harm": harm,
                        "rho": rho,
                        "variants": len({p["spec"] for p in known}),
                        "points": len(pairs),
                    }
                )
    return found
