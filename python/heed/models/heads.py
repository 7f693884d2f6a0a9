# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed heads`: what each head of a language model does, and how many are needed."""

import math
import shlex

import numpy as np

from heed.models import ablation, atlas, data, head_scores, maps, network
from heed.models import options as command, runs, tasks, written
from heed.models.errors import InputError, run_command
from heed.models.pruning import Pruning, prune
from heed.models.rankings import rankings
from heed.models.weights import observed

REPETITION = 256  # tokens of the block that is given twice
SEGMENT = 128  # tokens of an example of Taylor importance
TEXTS = ["moby", "code"]


def retrieval_counts(model, documents):
    """[layers, heads]: the share of answers that each head looks up."""
    counts, items = np.zeros((model.layers, model.heads)), 0
    for document in documents:
        at = [item.position - 1 for item in document.items]
        tops = observed(model, document.ids, lambda w: w[:, at].argmax(2))
        for layer, top in enumerate(tops):
            counts[layer] += head_scores.retrieves(top, document.ids, document.items)
        items += len(document.items)
    return counts / items


def measure(model, ids, repeated, documents):
    """A dict of numbers and a type of each head, layer by layer."""
    layers = observed(model, ids, head_scores.of_text)
    begin = len(model.prefix)
    length = (len(repeated.ids) - begin) // 2
    for found, more in zip(
        layers,
        observed(
            model, repeated.ids, lambda w: head_scores.of_repetition(w, length, begin)
        ),
    ):
        found.update(more)
    retrieval = retrieval_counts(model, documents)
    heads = []
    for layer, found in enumerate(layers):
        found["retrieval"] = retrieval[layer]
        for head in range(model.heads):
            numbers = {name: float(values[head]) for name, values in found.items()}
            heads.append({"layer": layer, "head": head, **numbers})
            heads[-1]["type"] = head_scores.type_of(numbers)
    return heads


def segments_of(prefix, ids):
    """Pieces of SEGMENT tokens of a text, each begun as the text is."""
    rest, size = ids[len(prefix) :], SEGMENT - len(prefix)
    return [prefix + rest[i : i + size] for i in range(0, len(rest) - size + 1, size)]


def significant(heads):
    """How many ablations change the loss, and how many chance alone would say."""
    count = sum(abs(h["ablation"]) > 1.96 * h["ablation_error"] for h in heads)
    strict = 3.5  # of 300 heads, chance passes this once in seven runs
    surely = sum(abs(h["ablation"]) > strict * h["ablation_error"] for h in heads)
    chance = math.erfc(1.96 / math.sqrt(2)) * len(heads)
    return {"significant": count, "by_chance": chance, "beyond_3.5_errors": surely}


def ranking_lines(found):
    """How alike rankings are, as lines of text."""
    lines = ["rank correlation; heads shared among the highest of both (by chance):"]
    for pair in found:
        rho = "-" if pair["rho"] is None else f"{pair['rho']:+.2f}"
        lines.append(
            f"  {pair['a'] + ' - ' + pair['b']:34s}{rho:>6s}   {pair['shared']} of "
            f"{pair['top']} ({pair['by_chance']:.1f})"
        )
    return lines


def pruning_lines(found):
    """Curves of pruning, as lines of text."""
    lines = [
        "change of loss (of the other text), needle margin, by share of heads taken "
        f"away; margin with all heads {found['margin']:+.2f}:"
    ]
    curves = {**found["curves"]}
    for draw, curve in enumerate(found["random"], 1):
        curves[f"random {draw}"] = curve
    for name, curve in curves.items():
        cells = []
        for point in curve:
            other = ""
            if "other_loss" in point:
                other = f" ({point['other_loss']:+.3f})"
            cells.append(
                f"{100 * point['share']:.0f}%: {point['loss']:+.3f}{other}, "
                f"{point['margin']:+.2f}"
            )
        lines.append(f"  {name:16s}" + "   ".join(cells))
    return lines


def text_table(result):
    """Types, and the heads that stand out, as lines of text."""
    heads = result["heads"]
    types = [name for name, _, _ in head_scores.RULES] + ["mixed"]
    lines = [f"{len(heads)} heads of {result['model']}"]
    for name in types:
        these = [h for h in heads if h["type"] == name]
        shown = ", ".join(f"{h['layer']}.{h['head']}" for h in these[:8])
        more = ", ..." if len(these) > 8 else ""
        lines.append(f"  {name:15s}{len(these):4d}  {shown}{more}")
    share = np.mean([h["retrieval"] >= 0.1 for h in heads])
    lines.append(f"retrieval score of 0.1 or more: {100 * share:.1f} % of heads")
    for text in [result, *result["other_texts"]]:
        if "ablation" in text:
            found = text["ablation"]
            lines.append(
                f"heads whose ablation ({found['how']}) changes the loss of "
                f"{text['text']} by 1.96 errors: {found['significant']}; chance "
                f"alone: {found['by_chance']:.1f}; by 3.5 errors: "
                f"{found['beyond_3.5_errors']}"
            )
    lines += ranking_lines(result["rankings"])
    if "pruning" in result:
        lines += pruning_lines(result["pruning"])
    return "\n".join(lines)


def parse(argv):
    parser = command._Parser(
        prog="heed heads",
        description="What each head of a language model does: where it looks, what "
        "it finds, what the loss loses without it. Of two texts, what is said first "
        "is of the first one.",
    )
    command.add_common(parser)
    parser.add_argument("--ablate", choices=("zero", "mean"), help="each head alone")
    parser.add_argument("--prune", action="store_true", help="many heads, in orders")
    parser.add_argument("--out", default="heads.json", metavar="FILE")
    parser.add_argument("--html", metavar="FILE", help="writes an atlas")
    parser.add_argument(
        "--maps",
        type=command.whole_number(0, 512),
        default=maps.TOKENS,
        metavar="N",
        help="tokens of the attention maps of the atlas, 0 for none",
    )
    options = parser.parse_args(argv)
    options.tokens = options.tokens or 512
    if options.tokens < 2 * SEGMENT:
        raise InputError(f"--tokens: needs to be at least {2 * SEGMENT}")
    options.text = options.text or TEXTS
    command.refuse_repeated_texts(options.text)
    if len(options.text) > 2:
        raise InputError(f"--text: one or two are compared, got {len(options.text)}")
    return options


class Examined:
    """A text, what it is cut into, and the numbers of each head on it."""

    def __init__(self, model, name, read, options, progress):
        self.label, text, self.sha256 = read
        self.ids = (model.prefix + model.encode(text))[: options.tokens]
        if len(self.ids) < options.tokens:
            raise InputError(
                f"--text {name}: has {len(self.ids)} tokens, fewer than "
                f"{options.tokens}"
            )
        rng = np.random.default_rng(options.seed)
        (repeated,) = tasks.begun_by(
            model.prefix,
            tasks.build("induction", text, model.encode, rng, 2 * REPETITION, 1),
        )
        self.needles = tasks.begun_by(
            model.prefix, tasks.build("needle", text, model.encode, rng, 512, 3)
        )
        self.segments = segments_of(model.prefix, self.ids)
        self.heads = measure(model, self.ids, repeated, self.needles)
        progress(f"{name}: scores")
        importance = ablation.taylor(model, self.segments)
        for head in self.heads:
            head["taylor"] = float(importance[head["layer"], head["head"]])
        progress(f"{name}: Taylor importance")
        self.ablation = None
        if options.ablate:
            self._ablate(model, name, options.ablate, progress)

    def _ablate(self, model, name, how, progress):
        say = lambda layer: progress(f"{name}: ablation, layer {layer}")
        table = ablation.each_head(model, self.ids, how, say)
        for head in self.heads:
            found = table[head["layer"]][head["head"]]
            head["ablation"], head["ablation_error"] = found
        self.ablation = {"how": how, **significant(self.heads)}

    def result(self):
        found = {"text": self.label, "text_sha256": self.sha256, "heads": self.heads}
        return {**found, "ablation": self.ablation} if self.ablation else found


def run(argv):
    options = parse(argv)
    read = {name: data.read_text(name) for name in options.text}
    written.check("--out", options.out)
    if options.html is not None:
        written.check("--html", options.html)
    network.keep_memory()
    model = network.load(options.model, options.threads)
    progress = runs.progress(options.quiet)
    texts = [
        Examined(model, name, read[name], options, progress) for name in options.text
    ]
    first = texts[0]
    result = {
        "command": "heed heads " + shlex.join(argv),
        "model": model.name,
        "model_sha256": model.sha256,
        "tokens": options.tokens,
        "cpu": runs.cpu_name(),
        "versions": network.versions(),
        "time": runs.now(),
        **first.result(),
        "other_texts": [text.result() for text in texts[1:]],
        "rankings": rankings([text.heads for text in texts]),
    }
    if options.prune:
        pruning = Pruning(model, [text.ids for text in texts], first.needles)
        result["pruning"] = prune(
            pruning, first.heads, first.segments, options.seed, progress
        )
    written.write("--out", options.out, result)
    if options.html:
        shown = maps.of_text(model, first.ids, options.maps) if options.maps else None
        atlas.write(options.html, result, shown)
    print(text_table(result))
    return 0


def main(argv):
    return run_command("heads", run, argv)
