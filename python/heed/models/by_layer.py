# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""A variant in one layer at a time: what each layer's error does to the model.

Beside the layer's own numbers of attention this is what says which of them
predicts harm: a point a layer and variant, with no other layer's error in it.
"""

import itertools

import numpy as np

from heed.models import ablation, network, scores
from heed.models.errors import InputError

KEPT = 2**28  # bytes of log-probabilities of exact attention, to be kept


class ByLayer:
    """Exact attention's predictions of a text and margins of needles, kept.

    forward(spec, ids, heads): last hidden states, the variant computing {layer: None
    or heads}; layers below it are not computed again where the model says which they
    are. documents: those of needles, or none.
    """

    def __init__(self, model, forward, ids, documents):
        self._model, self._forward = model, forward
        self._ids, self._documents = ids, documents
        self._states = {}
        self._wanted = None
        self._exact = forward("exact", ids, {})
        self._before = self._margins("exact", None, None)[0]

    def _from(self, spec, name, ids, layer, heads):
        """forward(), from the states that enter the layer; name: of the states."""
        if layer is None:
            return self._forward(spec, ids, {})
        try:
            below = ablation.decoder_layers(self._model)
        except InputError:
            return self._forward(spec, ids, {layer: heads})
        if name not in self._states:
            self._model.switch.reset()
            self._states[name] = ablation.states_before(self._model, ids)
        with ablation.started_at(below, layer, self._states[name][layer]):
            return self._forward(spec, ids, {layer: heads})

    def _margins(self, spec, layer, heads):
        return scores.margins(
            self._documents,
            lambda number, d: self._from(spec, number, d.ids, layer, heads),
            self._model.log_probs,
        )

    def _blocks(self):
        """(rows, exact attention's log-probabilities) of the text's second half."""
        if self._wanted is not None:
            return self._wanted
        count = len(self._ids) - 1
        begins = range(count // 2, count, network.ROWS)
        rows = [slice(begin, min(begin + network.ROWS, count)) for begin in begins]
        made = ((at, self._model.log_probs(self._exact[at])) for at in rows)
        first = next(made)
        found = itertools.chain([first], made)
        if first[1].nbytes * len(rows) <= KEPT:
            self._wanted = found = list(found)
        return found

    def _divergence(self, hidden):
        """KLD of each token of the text's second half."""
        return np.concatenate(
            [
                scores.divergence(want, self._model.log_probs(hidden[rows]))
                for rows, want in self._blocks()
            ]
        )

    def of(self, spec, heads):
        """A dict of each layer of heads: KLD and needle margin, with errors."""
        found = []
        for layer, these in heads.items():
            hidden = self._from(spec, "text", self._ids, layer, these)
            mean, error = scores.mean_error(self._divergence(hidden))
            row = {"layer": layer, "kld": mean, "kld_error": error}
            if self._documents:
                margins, of = self._margins(spec, layer, these)
                change, error = scores.clustered(margins - self._before, of)
                row.update(margin_change=change, margin_change_error=error)
            found.append(row)
        return found
