# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The cases of `heed eval`: each a variant and a task, measured once and stored."""

import os
import shlex
import time

import numpy as np

import heed
from heed.models import ahead, by_layer, fitted, kernel, network, places, results, runs
from heed.models import scores, texts
from heed.models.errors import InputError

FORMAT = 2  # of results: part of their keys
TIMED = ("lm", "kernel")  # tasks whose times tables show: those of one CPU


def _check_finite(values):
    if not np.isfinite(values).all():
        raise ArithmeticError("gives numbers that are not finite")


class Evaluation:
    """The cases of a run: each a variant and a task, measured and stored."""

    def __init__(self, model, options, store):
        self.model, self.options, self.store = model, options, store
        self.specs = places.expand_all(options.variants)
        self.where = places.Where(
            options.where, options.dense_layers, model.layers, model.heads
        )
        longest = max(options.tokens, options.length)
        if longest > model.max_tokens:
            raise InputError(
                f"--tokens, --length: {longest} is more than the model's "
                f"{model.max_tokens} positions"
            )
        self.texts = texts.Texts(model, options)
        self._ahead = {v["name"] for v in heed.variants() if v["selects_ahead"]}
        self._exact, self._inputs = {}, {}
        self._kernel, self._by_layer = None, None
        self.asked = [
            (task, text)
            for task in options.tasks
            for text in (options.text if task == "lm" else options.text[:1])
        ]
        beneath = ["kernel", *(["layers"] if options.by_layer else [])]
        beneath = [(task, options.text[0]) for task in beneath]
        self._fits = None
        if set(self.specs) & set(places.FITTED):
            self._fits = fitted.Fits(
                model,
                options.fit_text,
                options.tokens,
                self.texts.sha256,
                options.seed,
            )
        self.cases = [
            (spec, *case)
            for spec in ["exact", *self.specs]
            for case in [*self.asked, *(beneath if spec != "exact" else [])]
        ]

    def _kernel_ids(self, text):
        """What attention itself is measured on: the text, or a task's document."""
        ids = self.texts.tokens.get(text)
        return self.texts.documents(self.options.tasks[0])[0].ids if ids is None else ids

    def _input_sha256(self, task, text):
        """Of the tokens that a case sees, and of what a task asks about them."""
        if (task, text) not in self._inputs:
            if task == "lm":
                seen = self.texts.tokens[text]
            elif task == "kernel":
                seen = self._kernel_ids(text)
            elif task == "layers":
                seen = [self.texts.tokens[text], self._questions("needle")]
            else:
                seen = self._questions(task)
            self._inputs[task, text] = results.key_of(seen)
        return self._inputs[task, text]

    def _questions(self, task):
        """What a task's documents say and ask; none where it is not run."""
        return [
            [d.ids, [[i.position, i.right, i.distractors] for i in d.items]]
            for d in (self.texts.documents(task) if task in self.options.tasks else [])
        ]

    def key(self, spec, task, text):
        where = "" if spec == "exact" or task == "kernel" else sorted(
            self.where.heads.items()
        )
        seen = self._input_sha256(task, text)
        parts = [FORMAT, heed.__version__, self.model.sha256, spec, where, task, seen]
        if spec in places.FITTED:
            parts += [self._fits.windows, self.options.seed]
        if task in TIMED:
            parts += [runs.cpu_name(), self.options.threads]
        return results.key_of(parts + [self.texts.sha256[text]])

    def missing(self):
        return [case for case in self.cases if not self.store.find(self.key(*case))]

    def _forward(self, spec, ids, heads=None):
        """(last hidden states, seconds, seconds of attention); heads: other places."""
        switch, fit = self.model.switch, None
        if spec in places.FITTED:
            fit = self._fits.find(spec)
            if isinstance(fit, str):
                raise ValueError(fit)
        switch.reset()
        where = self.where.heads if heads is None else heads
        switch.use(None if spec == "exact" else spec, where, fit)
        switch.seconds, began = 0.0, time.perf_counter()
        hidden = self.model.hidden(ids)
        return hidden, time.perf_counter() - began, switch.seconds

    def _exact_hidden(self, text):
        if text not in self._exact:
            ids = self.texts.tokens[text]
            self._forward("exact", ids)  # memory is there afterwards
            self._exact[text] = self._forward("exact", ids)
        return self._exact[text]

    def _lm(self, spec, text):
        ids = np.array(self.texts.tokens[text])
        exact = self._exact_hidden(text)
        run = exact if spec == "exact" else self._forward(spec, ids.tolist())
        nll, exact_nll, kld, same = [], [], [], []
        for begin in range(0, len(ids) - 1, network.ROWS):
            rows_ = slice(begin, min(begin + network.ROWS, len(ids) - 1))
            targets = ids[rows_.start + 1 : rows_.stop + 1]
            at = np.arange(len(targets))
            want = self.model.log_probs(exact[0][rows_])
            got = want if spec == "exact" else self.model.log_probs(run[0][rows_])
            exact_nll.append(-want[at, targets])
            nll.append(-got[at, targets])
            if spec != "exact":
                kld.append(scores.divergence(want, got))
                same.append(want.argmax(1) == got.argmax(1))
        nll, exact_nll = np.concatenate(nll), np.concatenate(exact_nll)
        _check_finite(nll)
        # As llama.cpp: tokens with little context before them are not scored.
        half = slice(len(nll) // 2, None)
        if spec == "exact":
            mean, error = scores.mean_error(nll[half])
            numbers = {
                "tokens": len(nll[half]),
                "ppl": float(np.exp(mean)),
                "nll": mean,
                "nll_error": error,
            }
        else:
            kld, same = np.concatenate(kld), np.concatenate(same)
            numbers = scores.compare_tokens(
                exact_nll[half], nll[half], kld[half], same[half]
            )
        numbers["positions"] = scores.by_position(nll)
        numbers["context_score"] = scores.context_score(nll)
        return numbers, {"model_s": run[1], "attention_s": run[2]}

    def _task(self, spec, task):
        documents = self.texts.documents(task)
        cost = {"model_s": 0.0, "attention_s": 0.0, "tokens": 0}

        def forward(_, document):
            hidden, seconds, attention = self._forward(spec, document.ids)
            cost["model_s"] += seconds
            cost["attention_s"] += attention
            cost["tokens"] += len(document.ids)
            return hidden

        items, grid = [], []
        for found in scores.scored(documents, forward, self.model.log_probs):
            _check_finite([found["margin"], found["margin_mean"]])
            items.append(found)
            number, i = found["document"], found["item"]
            item = documents[number].items[i]
            depth, margin = round(item.depth, 3), round(found["margin"], 4)
            grid.append([number, i, depth, margin, item.distance])
        lengths = [len(document.ids) for document in documents]
        return {**scores.task_summary(items), "grid": grid, "lengths": lengths}, cost

    def _layers(self, spec, text):
        began = time.perf_counter()
        if self._by_layer is None:
            needles = "needle" in self.options.tasks
            self._by_layer = by_layer.ByLayer(
                self.model,
                lambda *run: self._forward(*run)[0],
                self.texts.tokens[text],
                self.texts.documents("needle") if needles else [],
            )
        found = self._by_layer.of(spec, self.where.heads)
        _check_finite([layer["kld"] for layer in found])
        return {"layers": found}, {"seconds": time.perf_counter() - began}

    def _kernel_case(self, spec, text):
        """One forward serves all variants that still miss these numbers."""
        if self._kernel is None:
            wanted = [s for s, task, _ in self.missing() if task == "kernel"]
            fits = {s: self._fits.find(s) for s in wanted if s in places.FITTED}
            ids = self._kernel_ids(text)
            self._kernel = kernel.measure(self.model, ids, wanted, fits=fits)
        layers, exact_seconds = self._kernel
        if isinstance(layers[spec], str):
            raise ValueError(layers[spec])
        numbers = kernel.summary(layers[spec], exact_seconds)
        cost = {k: numbers.pop(k) for k in ("seconds", "time_ratio", "choosing_share")}
        cost["exact_seconds"] = sum(exact_seconds)
        timing = ("seconds", "choosing_seconds")
        numbers["layers"] = [
            {k: v if isinstance(v, list) or v is None else round(v, 5)
             for k, v in layer.items() if k not in timing}
            for layer in layers[spec]
        ]
        return numbers, cost

    def _selects_ahead(self, spec):
        """By the variant's own rule, or by what it does over as many tokens."""
        if spec == "exact" or spec in places.YARDSTICKS or spec in places.FITTED:
            return False
        tokens = max(self.options.tokens, self.options.length)
        return spec.split(":")[0] in self._ahead or ahead.looks_ahead(spec, tokens)

    def _found(self, spec, task, text):
        """(accuracy, cost) of a case."""
        if task == "lm":
            return self._lm(spec, text)
        if task == "kernel":
            return self._kernel_case(spec, text)
        if task == "layers":
            return self._layers(spec, text)
        return self._task(spec, task)

    def measure(self, spec, task, text):
        """Runs a case and stores it; a variant that refuses is stored as such."""
        name, *knobs = spec.split(":")
        entry = {
            "key": self.key(spec, task, text),
            "variant": name,
            "spec": spec,
            "selects_ahead": self._selects_ahead(spec),
            "params": dict(knob.split("=") for knob in knobs),
            "where": "" if spec == "exact" or task == "kernel" else self.where.label,
            "task": task,
            "input": text,
            "seed": self.options.seed,
            "threads": self.options.threads,
        }
        runs.fill(entry, lambda: self._found(spec, task, text), must=spec == "exact")
        if spec in places.FITTED:
            entry["fit"] = self._fits.about(spec)
        self.store.append(entry)

    def header(self, argv):
        """What a run was: a line before its results."""
        return {
            "run": {
                "command": "heed eval " + shlex.join(argv),
                "format": FORMAT,
                "preset": self.options.preset,
                "model": self.model.name,
                "model_sha256": self.model.sha256,
                "where": self.where.label,
                "texts": {
                    name: {"label": self.texts.labels[name], "sha256": sha256}
                    for name, sha256 in self.texts.sha256.items()
                },
                "tokens": self.options.tokens,
                "length": self.options.length,
                "lengths": self.options.lengths,
                "documents": self.options.documents,
                "seeds": self.options.seeds,
                "threads": self.options.threads,
                "cpu": runs.cpu_name(),
                "processors": os.cpu_count(),
                "versions": network.versions(),
                "asked": self.asked,
                "cases": [self.key(*case) for case in self.cases],
                "time": runs.now(),
            }
        }
