# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Many heads taken away, in orders: what the losses and the needles say."""

import numpy as np

from heed.models import ablation, scores

SHARES = (0.1, 0.2, 0.4, 0.6)  # of heads taken away
DRAWS = 8  # random orders


def order_by(heads, key):
    """(layer, head) by a number, the least first."""
    return [(h["layer"], h["head"]) for h in sorted(heads, key=lambda h: h[key])]


class Pruning:
    """Losses of texts and margins of needles with heads taken away in an order.

    texts: [tokens of a text, ...]; the first is the one that orders are made of.
    """

    def __init__(self, model, texts, documents):
        self.model, self.texts, self.documents = model, texts, documents
        self.before = [ablation.losses(model, model.hidden(ids), ids) for ids in texts]

    def margins(self, edits):
        """(mean margin of the needles, its error over documents)."""
        forward = lambda _, document: ablation.run(self.model, document.ids, edits)
        return scores.clustered(
            *scores.margins(self.documents, forward, self.model.log_probs)
        )

    def _change(self, text, edits):
        """(mean change of a text's loss, its error over paired tokens)."""
        ids = self.texts[text]
        hidden = ablation.run(self.model, ids, edits)
        change = ablation.losses(self.model, hidden, ids) - self.before[text]
        return scores.mean_error(change)

    def curve(self, order):
        """A dict of each share of heads: count, losses and needle margin, with errors.

        loss: of the first text; other_loss: of the second, where there is one.
        """
        points = []
        for share in SHARES:
            heads = order[: round(share * len(order))]
            edits = ablation.edits_of(heads)
            point = {"share": share, "heads": len(heads)}
            for text, name in zip(range(len(self.texts)), ("loss", "other_loss")):
                point[name], point[f"{name}_error"] = self._change(text, edits)
            point["margin"], point["margin_error"] = self.margins(edits)
            points.append(point)
        return points


def prune(pruning, heads, segments, seed, progress):
    """{order: curve}, and the curves of random orders.

    segments: what Taylor importance is taken anew of.
    """
    margin, error = pruning.margins({})
    tenths = round(10 * max(SHARES))
    orders = {
        "taylor": order_by(heads, "taylor"),
        "iterated taylor": ablation.iterated_taylor(pruning.model, segments, tenths),
        "retrieval first": order_by(heads, "retrieval")[::-1],
        "sink first": order_by(heads, "sink")[::-1],
    }
    if "ablation" in heads[0]:
        orders["ablation"] = order_by(heads, "ablation")
    curves = {}
    for name, order in orders.items():
        curves[name] = pruning.curve(order)
        progress(name)
    random = []
    for draw in range(DRAWS):
        rng = np.random.default_rng([seed, draw])
        order = [order_by(heads, "layer")[i] for i in rng.permutation(len(heads))]
        random.append(pruning.curve(order))
        progress(f"random {draw + 1}")
    return {"margin": margin, "margin_error": error, "curves": curves, "random": random}
