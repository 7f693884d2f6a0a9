# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed heads`: what each head of a language model does, and how many are needed."""

import json
import math
import os
import sys
import time

import numpy as np
import torch

from heed.models import ablation, atlas, data, evaluate, head_scores, network
from heed.models import options as command, scores, tasks
from heed.models.errors import InputError, run_command

REPETITION = 256  # tokens of the block that is given twice
SEGMENT = 128  # tokens of an example of Taylor importance
SHARES = (0.1, 0.2, 0.4, 0.6)  # of heads taken away
DRAWS = 8  # random orders


def weights_of(q, k, arguments):
    """Softmax weights [heads, rows, keys] of causal attention, numpy float32.

    arguments: what heed.attention() takes besides, as an observer is told it.
    """
    group = q.shape[1] // k.shape[1]
    scores_ = q[0] @ k[0].repeat_interleave(group, 0).transpose(1, 2)
    scores_ *= arguments["softmax_scale"]
    if cap := arguments["softcap"]:
        scores_ = torch.tanh(scores_ / cap) * cap
    rows, keys = scores_.shape[1:]
    at = torch.arange(rows)[:, None] + arguments["causal_offset"]
    key = torch.arange(keys)
    hidden = key > at
    left, _ = arguments["window_size"]  # no key ahead is seen anyway
    if left >= 0:
        hidden |= key < at - left
    return scores_.masked_fill(hidden, -torch.inf).softmax(-1).numpy()


def observed(model, ids, take):
    """[take(weights) of each layer] of one forward of exact attention.

    Raises InputError for a model whose weights these are not: learned sinks, biases,
    masks of its own.
    """
    found = [None] * model.layers

    def observe(layer, q, k, v, arguments, out):
        found[layer] = take(weights_of(q.float(), k.float(), arguments))

    model.switch.reset()
    model.switch.observer = observe
    try:
        model.hidden(ids)
    except ValueError as error:
        raise InputError(f"{model.name}: {error}") from None
    finally:
        model.switch.reset()
    return found


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


def results_file(name, path):
    """Raises InputError for a path that no result can be written to."""
    if os.path.exists(path) and not os.path.isfile(path) or not path:
        raise InputError(f"{name} {path or repr(path)}: is no file")
    if not os.access(os.path.dirname(path) or ".", os.W_OK):
        raise InputError(f"{name} {path}: cannot be written")
    if os.path.isdir(path + ".partial"):
        raise InputError(f"{name} {path}: {path}.partial is a folder")


def write_result(path, result):
    """JSON under its name when it is whole."""
    partial = path + ".partial"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(result, file)
            file.write("\n")
        os.replace(partial, path)
    except OSError as error:
        if os.path.isfile(partial):
            os.remove(partial)
        raise InputError(f"--out {path}: {error.strerror}") from None


def order_by(heads, key):
    """(layer, head) by a number, the least first."""
    return [(h["layer"], h["head"]) for h in sorted(heads, key=lambda h: h[key])]


class Pruning:
    """Loss of a text and margins of needles with heads taken away in an order."""

    def __init__(self, model, ids, documents):
        self.model, self.ids, self.documents = model, ids, documents
        self.before = ablation.losses(model, model.hidden(ids), ids)

    def _margins(self, edits):
        margins, of = [], []
        for number, document in enumerate(self.documents):
            hidden = ablation.run(self.model, document.ids, edits)
            at = [item.position - 1 for item in document.items]
            for item, row in zip(document.items, self.model.log_probs(hidden[at])):
                margins.append(scores.margin(row, item.right, item.distractors)[0])
                of.append(number)
        return scores.clustered(margins, of)

    def curve(self, order):
        """A dict of each share of heads: count, loss and needle margin, with errors."""
        points = []
        for share in SHARES:
            heads = order[: round(share * len(order))]
            edits = ablation.edits_of(heads)
            hidden = ablation.run(self.model, self.ids, edits)
            change = ablation.losses(self.model, hidden, self.ids) - self.before
            loss, error = scores.mean_error(change)
            margin, margin_error = self._margins(edits)
            points.append(
                {
                    "share": share,
                    "heads": len(heads),
                    "loss": loss,
                    "loss_error": error,
                    "margin": margin,
                    "margin_error": margin_error,
                }
            )
        return points


def prune(model, ids, documents, heads, seed, progress):
    """{order: curve}, and the curves of random orders."""
    pruning = Pruning(model, ids, documents)
    margin, error = pruning._margins({})
    orders = {
        "taylor": order_by(heads, "taylor"),
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


def significant(heads):
    """How many ablations change the loss, and how many chance alone would say."""
    count = sum(abs(h["ablation"]) > 1.96 * h["ablation_error"] for h in heads)
    strict = 3.5  # of 300 heads, chance passes this once in seven runs
    surely = sum(abs(h["ablation"]) > strict * h["ablation_error"] for h in heads)
    chance = math.erfc(1.96 / math.sqrt(2)) * len(heads)
    return {"significant": count, "by_chance": chance, "beyond_3.5_errors": surely}


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
    if "ablation" in result:
        found = result["ablation"]
        lines.append(
            f"heads whose ablation ({found['how']}) changes the loss by 1.96 errors: "
            f"{found['significant']}; chance alone: {found['by_chance']:.1f}; by 3.5 "
            f"errors: {found['beyond_3.5_errors']}"
        )
    if "pruning" in result:
        lines.append("change of loss, needle margin, by share of heads taken away:")
        rows = {**result["pruning"]["curves"]}
        for draw, curve in enumerate(result["pruning"]["random"], 1):
            rows[f"random {draw}"] = curve
        for name, curve in rows.items():
            cells = [
                f"{100 * p['share']:.0f}%: {p['loss']:+.3f}, {p['margin']:+.2f}"
                for p in curve
            ]
            lines.append(f"  {name:16s}" + "   ".join(cells))
    return "\n".join(lines)


def parse(argv):
    parser = command._Parser(
        prog="heed heads",
        description="What each head of a language model does: where it looks, what "
        "it finds, what the loss loses without it.",
    )
    command.add_common(parser)
    parser.add_argument("--ablate", choices=("zero", "mean"), help="each head alone")
    parser.add_argument("--prune", action="store_true", help="many heads, in orders")
    parser.add_argument("--out", default="heads.json", metavar="FILE")
    parser.add_argument("--html", metavar="FILE", help="writes an atlas")
    options = parser.parse_args(argv)
    options.tokens = options.tokens or 512
    if options.tokens < 2 * SEGMENT:
        raise InputError(f"--tokens: needs to be at least {2 * SEGMENT}")
    options.text = (options.text or ["moby"])[0]
    return options


def run(argv):
    options = parse(argv)
    label, text, sha256 = data.read_text(options.text)
    results_file("--out", options.out)
    if options.html is not None:
        results_file("--html", options.html)
    network.keep_memory()
    model = network.load(options.model, options.threads)
    began = time.monotonic()

    def progress(what):
        if not options.quiet:
            spent = evaluate._clock(time.monotonic() - began)
            print(f"{spent}  {what}", file=sys.stderr)

    ids = (model.prefix + model.encode(text))[: options.tokens]
    if len(ids) < options.tokens:
        raise InputError(
            f"--text {options.text}: has {len(ids)} tokens, fewer than {options.tokens}"
        )
    rng = np.random.default_rng(options.seed)
    (repeated,) = tasks.begun_by(
        model.prefix,
        tasks.build("induction", text, model.encode, rng, 2 * REPETITION, 1),
    )
    documents = tasks.begun_by(
        model.prefix, tasks.build("needle", text, model.encode, rng, 512, 3)
    )
    heads = measure(model, ids, repeated, documents)
    progress("scores")
    importance = ablation.taylor(model, segments_of(model.prefix, ids))
    for head in heads:
        head["taylor"] = float(importance[head["layer"], head["head"]])
    progress("Taylor importance")
    result = {
        "command": "heed heads " + " ".join(argv),
        "model": model.name,
        "model_sha256": model.sha256,
        "text": label,
        "text_sha256": sha256,
        "tokens": options.tokens,
        "cpu": evaluate.cpu_name(),
        "versions": network.versions(),
        "time": evaluate.now(),
        "heads": heads,
    }
    if options.ablate:
        table = ablation.each_head(
            model, ids, options.ablate, lambda at: progress(f"ablation, layer {at}")
        )
        for head in heads:
            found = table[head["layer"]][head["head"]]
            head["ablation"], head["ablation_error"] = found
        result["ablation"] = {"how": options.ablate, **significant(heads)}
    if options.prune:
        result["pruning"] = prune(model, ids, documents, heads, options.seed, progress)
    write_result(options.out, result)
    if options.html:
        atlas.write(options.html, result)
    print(text_table(result))
    return 0


def main(argv):
    return run_command("heads", run, argv)
