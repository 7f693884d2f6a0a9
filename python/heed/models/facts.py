# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed facts`: what attention is for: facts, context, or both.

Closed-book facts, answers that stand in the context, and the loss of prose, under
interventions. What would show that attention retrieves and MLPs store: one that
moves the context's answers and not the facts, and one that moves the facts and not
the context's answers.
"""

import contextlib
import shlex

import numpy as np

from heed.models import ablation, capitals, data, heads, network, options as command
from heed.models import places, runs, scores, tasks, written
from heed.models.errors import InputError, run_command

DRAWS = 8
WINDOW = "window_sink:window=64:sink=4"
KNOWN = 0.0  # margin of a fact that a model knows
LEAST_KNOWN = 10
PROSE = 256  # tokens of a piece of prose


def mlps_of(model):
    found = [getattr(layer, "mlp", None) for layer in ablation.decoder_layers(model)]
    if None in found:
        raise InputError(f"{model.name}: does not say which modules its MLPs are")
    return found


@contextlib.contextmanager
def changed(model, window=(), attention_off=(), mlp_off=(), heads_off=()):
    """The model with a window, or without attention, MLPs or heads, in layers."""
    switch = model.switch
    switch.reset()
    if window:
        switch.use(places.expand(WINDOW)[0], {layer: None for layer in window})
    switch.edits = ablation.edits_of(heads_off)
    switch.edits.update({layer: lambda out: out * 0 for layer in attention_off})
    nothing = lambda module, args, out: out * 0
    hooks = [mlps_of(model)[layer].register_forward_hook(nothing) for layer in mlp_off]
    try:
        yield
    finally:
        switch.reset()
        for hook in hooks:
            hook.remove()


def ranges(layers, parts):
    edges = np.linspace(0, layers, parts + 1).round().astype(int)
    return [(a, b - 1, range(a, b)) for a, b in zip(edges, edges[1:]) if a < b]


def interventions(layers, parts):
    """[(name, arguments of changed())]."""
    found = [("window everywhere", {"window": range(layers)})]
    for a, b, these in ranges(layers, 3):
        found.append((f"window in layers {a}-{b}", {"window": these}))
    for a, b, these in ranges(layers, parts):
        found.append((f"attention off in layers {a}-{b}", {"attention_off": these}))
    for a, b, these in ranges(layers, parts):
        found.append((f"MLP off in layers {a}-{b}", {"mlp_off": these}))
    return found


def drawn_like(chosen, layers, counts, rng):
    """As many other heads of the same layers, of `layers` layers with `counts` heads.

    Where a layer has too few, the rest are of the nearest layers that have more;
    fewer are drawn only where the whole model has no others.
    """
    drawn, missing = [], []
    for layer in sorted({layer for layer, _ in chosen}):
        mine = [head for at, head in chosen if at == layer]
        others = [head for head in range(counts) if head not in mine]
        picked = rng.choice(others, min(len(mine), len(others)), replace=False)
        drawn += [(layer, int(head)) for head in picked]
        missing += [layer] * (len(mine) - len(picked))
    for layer in missing:
        taken = {*chosen, *drawn}
        free = [
            (at, head)
            for at in range(layers)
            for head in range(counts)
            if (at, head) not in taken
        ]
        near = min((abs(at - layer) for at, _ in free), default=None)
        free = [(at, head) for at, head in free if abs(at - layer) == near]
        if free:
            drawn.append(free[rng.integers(len(free))])
    return drawn


class Measures:
    """Facts, needles and prose of a model, each in documents."""

    def __init__(self, model, text, options):
        self.model = model
        rng = np.random.default_rng(options.seed)
        prose = tasks.Prose(text, model.encode)
        self.facts = capitals.documents(prose, model.encode, rng)
        self.needles = [
            tasks.needle(prose, model.encode, rng, options.tokens)
            for _ in range(options.documents)
        ]
        for documents in (self.facts, self.needles):
            tasks.begun_by(model.prefix, documents)
        self.prose = [
            sum(prose.take(PROSE), list(model.prefix))
            for _ in range(2 * options.documents)
        ]
        self.before = self._all()
        # Facts that the model does not know cannot be lost.
        self.known = self.before["facts"][0] > KNOWN
        if self.known.sum() < LEAST_KNOWN:
            raise InputError(
                f"{model.name}: knows {self.known.sum()} of {len(self.known)} "
                "capitals, too few to see any lost"
            )

    def _all(self):
        forward = lambda _, document: self.model.hidden(document.ids)
        of = lambda documents: scores.margins(documents, forward, self.model.log_probs)
        losses = [
            ablation.losses(self.model, self.model.hidden(ids), ids).mean()
            for ids in self.prose
        ]
        return {
            "facts": of(self.facts),
            "needles": of(self.needles),
            "prose": np.array(losses),
        }

    def baseline(self):
        facts, needles = self.before["facts"], self.before["needles"]
        return {
            "facts_documents": len(np.unique(facts[1][self.known])),
            "needles_documents": len(np.unique(needles[1])),
            "facts_asked": len(facts[0]),
            "facts_known": int(self.known.sum()),
            "facts_margin": float(facts[0][self.known].mean()),
            "needles": len(needles[0]),
            "needles_right": int((needles[0] > 0).sum()),
            "needles_margin": float(needles[0].mean()),
            "loss": float(self.before["prose"].mean()),
        }

    def under(self, arguments):
        """Changes by an intervention, each with its error over documents."""
        with changed(self.model, **arguments):
            try:
                now = self._all()
            except ValueError as error:  # of a window that a model cannot have
                raise InputError(f"{self.model.name}: {error}") from None
        known = self.known
        result = {}
        for name, keep in (("facts", known), ("needles", slice(None))):
            margin, document = now[name]
            change = (margin - self.before[name][0])[keep]
            result[f"{name}_margin"], result[f"{name}_margin_error"] = scores.clustered(
                change, document[keep]
            )
            result[f"{name}_right"] = float((margin[keep] > 0).mean())
        change = now["prose"] - self.before["prose"]
        result["loss"], result["loss_error"] = scores.mean_error(change)
        return result


def pooled(draws):
    """Mean over random draws; the error is that of draws."""
    result = {}
    for name in ("facts_margin", "needles_margin", "loss"):
        values = [draw[name] for draw in draws]
        result[name], result[f"{name}_error"] = scores.mean_error(values)
    for name in ("facts_right", "needles_right"):
        result[name] = float(np.mean([draw[name] for draw in draws]))
    return result


def text_table(result):
    base = result["baseline"]
    lines = [
        f"{result['model']}: knows {base['facts_known']} of {base['facts_asked']} "
        f"capitals, finds {base['needles_right']} of {base['needles']} needles, loss "
        f"{base['loss']:.3f}",
        f"{'change by':36s}{'facts: right, margin':>28s}"
        f"{'needles: right, margin':>28s}{'loss of prose':>20s}",
    ]
    for row in result["rows"]:
        cells = [
            f"{100 * row[f'{n}_right']:3.0f}% {row[f'{n}_margin']:+.2f}"
            f"±{row[f'{n}_margin_error']:.2f}"
            for n in ("facts", "needles")
        ]
        loss = f"{row['loss']:+.3f}±{row['loss_error']:.3f}"
        lines.append(f"{row['name']:36s}{cells[0]:>28s}{cells[1]:>28s}{loss:>20s}")
    return "\n".join(lines)


def parse(argv):
    parser = command._Parser(
        prog="heed facts",
        description="Facts that a model knows, answers that stand in its context and "
        "the loss of prose, without parts of its attention and its MLPs.",
    )
    command.add_common(parser)
    parser.add_argument("--documents", type=int, default=4, metavar="N")
    parser.add_argument(
        "--parts", type=int, default=6, metavar="N", help="ranges of layers"
    )
    parser.add_argument("--heads", type=int, default=10, metavar="N", help="masked")
    parser.add_argument("--out", default="facts.json", metavar="FILE")
    options = parser.parse_args(argv)
    options.tokens = options.tokens or 512
    options.text = command.one_text(options.text)
    for name, low in (("documents", 2), ("parts", 1), ("heads", 1), ("tokens", 320)):
        if getattr(options, name) < low:
            raise InputError(f"--{name}: needs to be at least {low}")
    return options


def run(argv):
    options = parse(argv)
    label, text, sha256 = data.read_text(options.text)
    written.check("--out", options.out)
    network.keep_memory()
    model = network.load(options.model, options.threads)
    progress = runs.progress(options.quiet)
    measures = Measures(model, text, options)
    # Scored on needles of their own, so that they are not chosen by the answers; and
    # first, as a model whose heads cannot be seen is refused here.
    rng = np.random.default_rng(options.seed + 1)
    own = tasks.build("needle", text[len(text) // 2 :], model.encode, rng, 512, 3)
    counts = heads.retrieval_counts(model, tasks.begun_by(model.prefix, own))
    order = np.argsort(-counts, axis=None, kind="stable")[: options.heads]
    chosen = [divmod(int(i), model.heads) for i in order]
    found = []
    for name, arguments in interventions(model.layers, options.parts):
        found.append({"name": name, **measures.under(arguments)})
        progress(name)
    name = f"{len(chosen)} retrieval heads off"
    off = measures.under({"heads_off": chosen})
    found.append({"name": name, "heads_off": len(chosen), **off})
    progress(name)
    draws = []
    for draw in range(DRAWS):
        rng = np.random.default_rng([options.seed, draw])
        others = drawn_like(chosen, model.layers, model.heads, rng)
        draws.append(measures.under({"heads_off": others}))
        progress(f"random heads, draw {draw + 1}")
    name = f"{len(others)} random heads off, {DRAWS} draws"
    found.append({"name": name, "heads_off": len(others), **pooled(draws)})
    result = {
        "command": "heed facts " + shlex.join(argv),
        "model": model.name,
        "model_sha256": model.sha256,
        "text": label,
        "text_sha256": sha256,
        "cpu": runs.cpu_name(),
        "versions": network.versions(),
        "time": runs.now(),
        "baseline": measures.baseline(),
        "retrieval_heads": chosen,
        "rows": found,
        "draws": draws,
    }
    written.write("--out", options.out, result)
    print(text_table(result))
    return 0


def main(argv):
    return run_command("facts", run, argv)
