# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""A trained model whose positions are shifted, scaled, permuted or removed."""

import numpy as np

from heed.models import ablation, results, scores, tasks
from heed.models.errors import InputError
from heed.models.rotary import Turn

BASELINE = "as trained"

# pieces: of prose, of so many tokens each; asked: documents of each task, of so many
# tokens; longest: tokens of the part "length", of one text or of several.
PRESETS = {
    "quick": {
        "pieces": (6, 256),
        "asked": (2, 384),
        "shifts": (1000,),
        "speeds": (0.5, 0.75, 1.25, 2.0),
        "longest": 2048,
    },
    "full": {
        "pieces": (16, 512),
        "asked": (6, 768),
        "shifts": (1, 1000, 100000),
        "speeds": (0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0, 4.0),
        "longest": 16384,
    },
}


def turns(preset, seed):
    """{what is done to positions: Turn}, the trained one first."""
    found = {BASELINE: Turn()}
    for by in preset["shifts"]:
        found[f"shifted by {by:,}"] = Turn(place=lambda n, by=by: np.arange(n) + by)
    for speed in preset["speeds"]:
        found[f"times {speed:g}"] = Turn(speed=speed)
    rng = lambda: np.random.default_rng(seed)
    found["permuted by eights"] = Turn(
        place=lambda n: np.lexsort((rng().random(n), np.arange(n) // 8))
    )
    found["permuted"] = Turn(place=lambda n: rng().permutation(n))
    found["removed"] = Turn(speed=0.0)
    return found


class Asked:
    """Prose, needles and repeated random tokens: what a change is seen on."""

    def __init__(self, model, text, preset, seed):
        self.model = model
        rng = np.random.default_rng(seed)
        count, size = preset["pieces"]
        number, tokens = preset["asked"]
        prose = tasks.Prose(text, model.encode)
        self.pieces = [
            sum(prose.take(size), list(model.prefix)) for _ in range(count)
        ]
        words = len(tasks.single_words(tasks.WORDS, model.encode))
        if words < 8:
            raise InputError(
                f"{model.name}: its tokenizer tells {words} of {len(tasks.WORDS)} "
                "words apart by their first token, too few for needles: leave out the "
                "part turns"
            )
        self.documents = {
            "needle": [
                tasks.needle(prose, model.encode, rng, tokens) for _ in range(number)
            ],
            "induction": tasks.build(
                "induction", text, model.encode, rng, tokens, number
            ),
        }
        for documents in self.documents.values():
            tasks.begun_by(model.prefix, documents)

    def seen(self):
        """What a result depends on: the tokens, and the questions."""
        documents = [
            [d.ids, [[i.position, i.right, i.distractors] for i in d.items]]
            for found in self.documents.values()
            for d in found
        ]
        return results.key_of([self.pieces, documents])

    def measure(self):
        """Losses of pieces, and (margins, documents) of each task."""
        model = self.model
        found = {
            "prose": np.array(
                [
                    ablation.losses(model, model.hidden(ids), ids).mean()
                    for ids in self.pieces
                ]
            )
        }
        for task, documents in self.documents.items():
            forward = lambda _, document: model.hidden(document.ids)
            found[task] = scores.margins(documents, forward, model.log_probs)
        return found


def changes(now, before):
    """Numbers of a turn: means, and paired changes with errors over documents."""
    loss = now["prose"]
    numbers = {"loss": float(loss.mean())}
    change = scores.mean_error(loss - before["prose"])
    numbers["loss_change"], numbers["loss_change_error"] = change
    for task in ("needle", "induction"):
        (margin, of), old = now[task], before[task][0]
        numbers[f"{task}_right"] = float((margin > 0).mean())
        numbers[f"{task}_margin"] = float(margin.mean())
        change, error = scores.clustered(margin - old, of)
        numbers[f"{task}_change"], numbers[f"{task}_change_error"] = change, error
    return numbers


def lines_of(rows):
    lines = [
        f"{'positions':22s}{'loss':>8s}{'change':>18s}"
        f"{'needle: right, margin':>28s}{'induction: right, margin':>28s}"
    ]
    for row in rows:
        error = row["loss_change_error"]
        change = f"{row['loss_change']:+.4f}" + (f"±{error:.4f}" if error else "")
        cells = [
            f"{100 * row[f'{task}_right']:3.0f}% {row[f'{task}_margin']:+.2f}"
            f" ({row[f'{task}_change']:+.2f})"
            for task in ("needle", "induction")
        ]
        lines.append(
            f"{row['name']:22s}{row['loss']:8.3f}{change:>18s}"
            f"{cells[0]:>28s}{cells[1]:>28s}"
        )
    return lines
