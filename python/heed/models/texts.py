# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a run reads: its texts, and the documents of its tasks."""

import numpy as np

from heed.models import data, tasks
from heed.models.errors import InputError


class Texts:
    """The texts of a run, as tokens, and the documents of its tasks."""

    def __init__(self, model, options):
        self._model, self._options = model, options
        self.tokens, self.sha256, self.labels = {}, {}, {}
        for name in options.text:
            label, text, sha256 = data.read_text(name)
            self.labels[name], self.sha256[name] = label, sha256
            if "lm" in options.tasks:
                ids = model.prefix + model.encode(text)
                if len(ids) < options.tokens:
                    raise InputError(
                        f"--text {name}: has {len(ids)} tokens, fewer than "
                        f"{options.tokens}"
                    )
                self.tokens[name] = ids[: options.tokens]
            if name == options.text[0]:
                self._prose = text
        self._documents = {}
        for task in options.documents:
            self.documents(task)

    def documents(self, task):
        """Those of all seeds."""
        if task not in self._documents:
            options, made = self._options, []
            for seed in range(options.seed, options.seed + options.seeds):
                rng = np.random.default_rng([seed, list(tasks.TASKS).index(task)])
                count = options.documents[task]
                for length in options.lengths:
                    made += tasks.build(
                        task, self._prose, self._model.encode, rng, length, count
                    )
            self._documents[task] = tasks.begun_by(self._model.prefix, made)
        return self._documents[task]
