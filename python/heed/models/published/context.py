# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What bars measure on: a model, a text, captured tensors, results that are there."""

import functools
import json
import pathlib

import numpy as np
import torch

import heed
from heed.models import ablation, data, network, places, tasks
from heed.models.errors import InputError
from heed.models.published.bar import Unable

LAYERS = 6  # of the model, evenly spread, whose queries, keys and values are kept
OF_MODELS = ("eval.json", "heads.json", "facts.json")  # which say whose they are


def model_sha256(name):
    """Of a model's files, without loading it: as network.load() tells it."""
    if name == data.DEFAULT_MODEL:
        return data.MODEL_SHA256
    return data.sha256_of_folder(name)


def _first_text(run):
    """(name, SHA-256) of the text that a result's numbers are of, the first of them."""
    texts = run.get("texts")
    if texts is None:
        return run["text"], run["text_sha256"]
    first = next(iter(texts.values()))
    return first["label"], first["sha256"]


class Folders:
    """Results of other commands, by the names of their files: the first that has one."""

    def __init__(self, paths, sha256, text_sha256):
        self._paths, self._sha256 = [pathlib.Path(path) for path in paths], sha256
        self._text_sha256 = text_sha256
        for path in self._paths:
            if not path.is_dir():
                raise InputError(f"--folder {path}: is no folder")

    def _file(self, name):
        return next((p / name for p in self._paths if (p / name).is_file()), None)

    def sha256(self, name):
        """Of a file; None where it is not there."""
        path = self._file(name)
        return path and data.sha256_of_file(path)

    def take(self, name, read):
        """read(what a file holds), or None without the file, or where that is None.

        Raises InputError for a file that is not what its command writes, or whose
        numbers are another model's or begin with another text's.
        """
        path = self._file(name)
        if path is None:
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if name in OF_MODELS:
                run = found.get("run", found)
                if run["model_sha256"] != self._sha256:
                    raise InputError(f"{path}: is of another model, {run['model']}")
                text, sha256 = _first_text(run)
                if sha256 != self._text_sha256:
                    raise InputError(f"{path}: is of another text, {text}")
            taken = read(found)
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from None
        except (
            KeyError,
            TypeError,
            IndexError,
            AttributeError,
            StopIteration,
        ) as error:
            raise InputError(
                f"{path}: is no such result of heed, or an older one: {error!r}"
            ) from None
        return None if taken is None else {**taken, "taken_from": name}


class Context:
    """Of one run. What costs time is made when a bar asks, and once.

    found: what bars leave for one another.
    """

    def __init__(self, options, text, text_sha256, progress=lambda what: None):
        self.options, self.seed, self.tokens = options, options.seed, options.tokens
        self.threads, self.text, self.progress = options.threads, text, progress
        self.sha256 = model_sha256(options.model)
        self.folders = Folders(options.folder, self.sha256, text_sha256)
        self.found, self._losses, self._exact_lse = {}, {}, {}

    @functools.cached_property
    def model(self):
        """Raises InputError where it has not --tokens positions."""
        network.keep_memory()
        model = network.load(self.options.model, self.threads)
        if self.tokens > model.max_tokens:
            raise InputError(
                f"--tokens {self.tokens}: is more than the model's {model.max_tokens} "
                "positions"
            )
        return model

    @functools.cached_property
    def _all_ids(self):
        """Raises InputError where they are fewer than --tokens."""
        ids = self.model.prefix + self.model.encode(self.text)
        if len(ids) < self.tokens:
            raise InputError(
                f"--text {self.options.text}: has {len(ids)} tokens, fewer than "
                f"{self.tokens}"
            )
        return ids

    def ids(self, tokens):
        """The first tokens of the text. Raises Unable where they are too many."""
        for what, most in (
            ("the model's positions", self.model.max_tokens),
            ("the text's tokens", len(self._all_ids)),
        ):
            if tokens > most:
                raise Unable(f"needs {tokens} tokens, more than {what}, {most}")
        return self._all_ids[:tokens]

    def losses(self, spec):
        """Losses of the second half of the text's tokens under a variant, or "exact"."""
        if spec not in self._losses:
            ids, switch = self.ids(self.tokens), self.model.switch
            switch.reset()
            try:
                if spec != "exact":
                    (spelled,) = places.expand(spec)
                    switch.use(spelled, {at: None for at in range(self.model.layers)})
                hidden = self.model.hidden(ids)
            finally:
                switch.reset()
            losses = ablation.losses(self.model, hidden, ids)
            self._losses[spec] = losses[len(losses) // 2 :]
            self.progress(f"loss, {spec}")
        return self._losses[spec]

    def needles(self, count, length, part):
        """Needle documents of the first (part 0) or the second half of the text."""
        half = len(self.text) // 2
        text = self.text[half:] if part else self.text[:half]
        rng = np.random.default_rng([self.seed, part])
        made = tasks.build("needle", text, self.model.encode, rng, length, count)
        return tasks.begun_by(self.model.prefix, made)

    @functools.cached_property
    def _captured(self):
        model = self.model
        chosen = np.linspace(0, model.layers - 1, min(LAYERS, model.layers))
        wanted, found = set(chosen.round().astype(int)), []

        def observe(layer, q, k, v, arguments, out):
            if layer in wanted:
                kept = [x.detach().float().clone() for x in (q, k, v)]
                found.append((layer, kept, arguments))

        longest = min(2 * self.tokens, model.max_tokens, len(self._all_ids))
        ids = self.ids(longest)
        model.switch.reset()
        model.switch.observer = observe
        try:
            model.hidden(ids)
        finally:
            model.switch.reset()
        self.progress(f"captured {len(found)} layers of {longest} tokens")
        return found

    def captured(self, tokens=None):
        """[(layer, (q, k, v) of [1, heads, tokens, d], arguments of attention)].

        Of the first tokens: what follows changes nothing before it. Without a number
        of twice --tokens, or of as many as the model has positions for.
        """
        return [
            (layer, [x[:, :, :tokens].contiguous() for x in kept], arguments)
            for layer, kept, arguments in self._captured
        ]

    @functools.cached_property
    def captured_tokens(self):
        return self._captured[0][1][0].shape[2]

    def kept(self, spec, tokens):
        """[(density, share of attention kept) of each captured layer] of a variant."""
        found, layers = [], self.captured(tokens)
        if tokens not in self._exact_lse:
            self._exact_lse[tokens] = [
                heed.attention(*qkv, return_lse=True, **arguments)[1]
                for _, qkv, arguments in layers
            ]
        for (_, qkv, arguments), exact in zip(layers, self._exact_lse[tokens]):
            run = heed.run_variant(spec, *qkv, **arguments)
            mass = torch.exp(run.lse.double() - exact.double()).clamp(0, 1)
            found.append((run.density, float(mass.mean())))
        self.progress(f"attention kept, {spec}, {tokens} tokens")
        return found
