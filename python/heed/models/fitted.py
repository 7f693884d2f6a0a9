# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Linear attention in the place of softmax, its maps fitted to a model's own attention.

The model is not trained: maps learn, layer by layer, from queries and keys of a text
what weights softmax gave them. Two ways:

hedgehog_fitted: features [softmax(W x), softmax(-W x)], W of queries and of keys a
    key head, by descent on the cross entropy of weights (Zhang et al. 2024,
    arXiv:2402.04347); computed by the variant `hedgehog`.
ridge_fitted: the same features with W the identity times a factor, of which queries
    take combinations M, a matrix a query head: the closed form of the least squares
    of R M P^T to the weights, with a ridge on both sides. What falls below zero is
    cut off; computed by the variant `linear` over these features.
"""

import torch

from heed import hf
from heed.models import data, weights
from heed.models.errors import InputError

TEXT = "code"  # that is fitted on where none is named
WINDOWS = 2  # pieces of the text
STEPS, STEP_ROWS, RATE = 100, 64, 0.02  # of the descent
RIDGE_ROWS, RIDGE = 512, 1e-3  # rows of a piece; share of the mean square
FACTORS = (0.25, 0.5, 1.0)
LEAST = 1e-6  # of a feature of queries: a row without any would be zero


def features(x, w=None):
    """[softmax(W x), softmax(-W x)] of x [heads, n, d], W [heads, d, d] or none."""
    y = x if w is None else x @ w.transpose(1, 2)
    return torch.cat([y.softmax(-1), (-y).softmax(-1)], -1)


def linear_weights(of_queries, of_keys, rows):
    """Normalised weights [heads, rows, keys] of features; keys behind a row have none.

    of_queries: [heads, rows, m]; of_keys: [kv_heads, keys, m].
    """
    group = of_queries.shape[0] // of_keys.shape[0]
    products = of_queries @ of_keys.repeat_interleave(group, 0).transpose(1, 2)
    behind = torch.arange(of_keys.shape[1]) > rows[:, None]
    products = products.masked_fill(behind, 0)
    # Features that all round to 0 give a row nothing, here as in the variant.
    return products / products.sum(-1, keepdim=True).clamp(min=1e-30)


def cross_entropy(target, got):
    """Of rows of weights, mean; the least that it can be is the target's entropy."""
    return -(target * (got + 1e-12).log()).sum(-1).mean()


def divergence(target, got):
    """KL(target || got) of rows of weights, mean, a float."""
    return float(cross_entropy(target, got) - cross_entropy(target, target))


def all_pairs(q, k, arguments, rows):
    """As weights_of(), with weights of keys ahead: exp(score) by the row's own sum.

    A least square without masks must be told something of them, and 0 would be
    wrong of keys like those behind. At most 1.
    """
    scores, distances = weights.scores_of(q, k, arguments, rows)
    hidden = weights.hidden_of(distances, arguments)
    sums = scores.masked_fill(hidden, -torch.inf).logsumexp(-1, keepdim=True)
    shares = (scores - sums).exp().clamp(max=1)
    return shares.masked_fill(hidden & (distances >= 0), 0)


class Hedgehog:
    """Maps of a layer, [kv_heads, d, d]."""

    spec = "hedgehog:convention=0"

    def __init__(self, windows, generator):
        """windows: [(q, k, arguments), ...] as weights.seen_by_layers() hands them."""
        q, k, _ = windows[0]
        self.group = q.shape[1] // k.shape[1]
        # The identity is where the authors begin.
        first = torch.eye(q.shape[-1]).repeat(k.shape[1], 1, 1)
        self.query, self.key = first.clone(), first.clone()
        maps = [self.query.requires_grad_(), self.key.requires_grad_()]
        descent = torch.optim.Adam(maps, lr=RATE)
        with torch.enable_grad():
            for step in range(STEPS):
                q, k, arguments = windows[step % len(windows)]
                rows = torch.randint(q.shape[2], (STEP_ROWS,), generator=generator)
                target = weights.weights_of(q, k, arguments, rows)
                loss = cross_entropy(target, self.weights(q, k, rows))
                descent.zero_grad()
                loss.backward()
                descent.step()
        self.query, self.key = (x.detach() for x in maps)

    def weights(self, q, k, rows):
        of_heads = self.query.repeat_interleave(self.group, 0)
        of_queries = features(q[0][:, rows], of_heads)
        return linear_weights(of_queries, features(k[0], self.key), rows)

    def inputs(self, q, k):
        """(q, k, inputs) that the variant computes with."""
        turn = lambda w: w.transpose(0, 1)[None].contiguous()
        return q, k, {"query_map": turn(self.query), "key_map": turn(self.key)}


class Ridge:
    """Combinations of features of a layer, [heads, 2 d, 2 d], and their factor."""

    spec = "linear:map=1:normalise=1"

    def __init__(self, windows, generator):
        drawn = []
        for q, k, arguments in windows:
            rows = torch.randperm(q.shape[2], generator=generator)[:RIDGE_ROWS]
            drawn.append((q, k, arguments, rows))
        found = []
        for self.factor in FACTORS:
            self.matrix = self._solved(drawn)
            lost = 0
            for q, k, arguments, rows in drawn:
                target = weights.weights_of(q, k, arguments, rows)
                lost += divergence(target, self.weights(q, k, rows))
            found.append((lost, self.factor, self.matrix))
        _, self.factor, self.matrix = min(found, key=lambda one: one[0])

    def _solved(self, drawn):
        """(R^T R + a)^-1 R^T E P (P^T P + b)^-1 of each head, in double."""
        left = right = middle = 0
        for q, k, arguments, rows in drawn:
            target = all_pairs(q, k, arguments, rows)
            r = features(self.factor * q[0][:, rows]).double()
            p = features(self.factor * k[0]).double()
            p = p.repeat_interleave(len(r) // len(p), 0)
            left = left + r.transpose(1, 2) @ r
            right = right + p.transpose(1, 2) @ p
            middle = middle + r.transpose(1, 2) @ (target.double() @ p)
        solve = lambda a, b: torch.linalg.solve(_ridged(a), b)
        halfway = solve(left, middle)
        return solve(right, halfway.transpose(1, 2)).transpose(1, 2).float()

    def _queries(self, q):
        """Features of q [heads, n, d]."""
        return (features(self.factor * q) @ self.matrix).clamp(min=LEAST)

    def weights(self, q, k, rows):
        return linear_weights(
            self._queries(q[0][:, rows]), features(self.factor * k[0]), rows
        )

    def inputs(self, q, k):
        of_keys = torch.stack([features(self.factor * x) for x in k])
        return torch.stack([self._queries(x) for x in q]), of_keys, {}


def _ridged(gram):
    """A matrix [heads, m, m] with a share of its mean diagonal added to it."""
    more = RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1)
    return gram + more[:, None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype)


KINDS = {"hedgehog_fitted": Hedgehog, "ridge_fitted": Ridge}


class Fit:
    """Maps of every layer of a model.

    divergence: KL of their weights from softmax's, a mean over layers, heads and
    rows of the pieces that were fitted on.
    """

    def __init__(self, model, name, windows, seed):
        kind = KINDS[name]
        self.spec = kind.spec
        keep = lambda q, k, arguments: (q.clone(), k.clone(), arguments)
        seen = [weights.seen_by_layers(model, ids, keep) for ids in windows]
        self.layers, lost = [], []
        for layer in zip(*seen):
            generator = torch.Generator().manual_seed(seed)
            maps = kind(layer, generator)
            for q, k, arguments in layer:
                rows = torch.randperm(q.shape[2], generator=generator)[:STEP_ROWS]
                target = weights.weights_of(q, k, arguments, rows)
                lost.append(divergence(target, maps.weights(q, k, rows)))
            self.layers.append(maps)
        self.divergence = sum(lost) / len(lost)

    def attention(self):
        """The function that transformers calls."""
        layers = [hf._make_attention(_Policy(maps)) for maps in self.layers]

        def attend(module, *args, **kwargs):
            return layers[module.layer_idx](module, *args, **kwargs)

        return attend


class _Policy(hf._Policy):
    """A layer's variant, over what its maps make of queries and keys."""

    def __init__(self, maps):
        super().__init__(maps.spec, maps.spec)
        self._maps = maps

    def run(self, q, k, v, out, rule_arguments, more):
        q, k, self.inputs = self._maps.inputs(q, k)
        super().run(q, k, v, out, rule_arguments, more)


class Fits:
    """The fits of a run, each made when it is asked for, on pieces of one text.

    The pieces are the text's end, as long as what is scored, begun as texts are.
    scored: {name: SHA-256} of the texts whose beginnings are; pieces stay apart.
    Raises InputError for a text that is not there or too short.
    """

    def __init__(self, model, name, tokens, scored, seed):
        self._model, self._seed, self._made = model, seed, {}
        label, text, sha256 = data.read_text(name)
        ids, size = model.encode(text), tokens - len(model.prefix)
        apart = tokens if sha256 in scored.values() else 0
        if len(ids) < WINDOWS * size + apart:
            raise InputError(
                f"--fit-text {name}: has {len(ids)} tokens, fewer than the "
                f"{WINDOWS * size + apart} that are fitted on, and scored apart from "
                "them"
            )
        begins = range(len(ids) - WINDOWS * size, len(ids), size)
        self.windows = [model.prefix + ids[i : i + size] for i in begins]
        self._about = {"text": label, "text_sha256": sha256}

    def find(self, spec):
        """The Fit of a name of KINDS, or a sentence why there is none."""
        if spec not in self._made:
            try:
                self._made[spec] = Fit(self._model, spec, self.windows, self._seed)
            except InputError as error:
                self._made[spec] = f"maps are not fitted: {error}"
        return self._made[spec]

    def about(self, spec):
        """What a result says of its maps, or None where they were not made."""
        fit = self._made.get(spec)
        if not isinstance(fit, Fit):
            return None
        tokens = sum(map(len, self.windows))
        return {**self._about, "tokens": tokens, "divergence": fit.divergence}
