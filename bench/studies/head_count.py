#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""How many heads: small models that differ in nothing else, trained through heed.

    python3 bench/studies/head_count.py --json bench/models/CPU/head_count.json

Vaswani et al. 2017 (arXiv:1706.03762), Table 3 (A), in shape: the width is shared out
to more and more heads, so that parameters and work of the products stay the same.
Models are Llamas of bytes; attention is heed's forward, and the backward of
heed.torch.attention. Models of a seed begin with the same weights and see the same
batches, whatever their heads, so that losses of a seed are paired. Runs are lines of
--out: the same command goes on where it was stopped. Needs heed, torch, transformers.
"""

import argparse
import math
import pathlib
import shlex
import sys
import time

import numpy as np
import torch
import transformers

import heed
import heed.hf
from heed.models import data, network, results, runs, scores, written
from heed.models.errors import InputError
from heed.models.options import whole_number
from heed.models.places import is_number

# Perplexity by heads of the paper's Table 3: row (A), and the base model's 8.
PUBLISHED = {1: 5.29, 4: 5.00, 8: 4.92, 16: 4.91, 32: 5.01}
WIDTH, LAYERS, CONTEXT, BATCH = 128, 2, 128, 4
HELD_OUT = 0.1  # of the text, its end
WINDOWS = 64  # of the held-out text, on which losses are measured
RATE, WARMUP = 3e-3, 30


def tokenizer():
    """A token of each byte."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(
        models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    made.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made)


def model_of(heads, seed, attention="heed"):
    """A model of so many heads; its first weights are the seed's, whatever they are."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=256,
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    return transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation=attention
    )


def loss_of(model, batch):
    logits = model(batch[:, :-1], use_cache=False).logits.flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, batch[:, 1:].flatten())


def gradients(model, batch):
    model.zero_grad()
    loss_of(model, batch).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def gradient_error(heads, seed, batch):
    """Relative L2 of the first step's gradients from those of PyTorch's attention."""
    ours, theirs = (
        gradients(model_of(heads, seed, attention), batch)
        for attention in ("heed", "sdpa")
    )
    return float((ours - theirs).norm() / theirs.norm())


class Text:
    """A text as bytes: batches of its beginning, windows of its end."""

    def __init__(self, words, encode):
        begin = round((1 - HELD_OUT) * len(words))
        self.held_out = words[begin:]
        self._train, self._rest = (
            torch.tensor(encode(part).input_ids)
            for part in (words[:begin], words[begin:])
        )
        if len(self._rest) <= CONTEXT + WINDOWS:
            raise InputError(f"the text has {len(words)} characters, too few")

    def batch(self, rng):
        begins = rng.integers(0, len(self._train) - CONTEXT, BATCH)
        return torch.stack([self._train[b : b + CONTEXT + 1] for b in begins])

    def windows(self):
        begins = np.linspace(0, len(self._rest) - CONTEXT - 1, WINDOWS).astype(int)
        return torch.stack([self._rest[b : b + CONTEXT + 1] for b in begins])


def rate(step, steps):
    """Up in a straight line, down by a cosine to a tenth."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    share = (step - WARMUP) / max(steps - WARMUP, 1)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * share))


def held_out_loss(model, text):
    """Mean loss of a byte of the held-out windows, in nats."""
    model.eval()
    with torch.no_grad():
        return float(
            np.mean([float(loss_of(model, w)) for w in text.windows().split(BATCH)])
        )


def train(heads, seed, steps, text):
    """(model, held-out loss by step)."""
    model, rng = model_of(heads, seed), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: rate(s, steps))
    curve = []
    for step in range(1, steps + 1):
        model.train()
        optimizer.zero_grad()
        loss = loss_of(model, text.batch(rng))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % max(steps // 4, 1) == 0 or step == steps:
            curve.append([step, held_out_loss(model, text)])
    return model, curve


def rows_of(runs):
    """A row a head count: the mean over seeds, and the change from the best count."""
    by = {}
    for run in runs:
        by.setdefault(run["heads"], {})[run["seed"]] = run["curve"][-1][1]
    best = min(by, key=lambda heads: np.mean(list(by[heads].values())))
    rows = []
    for heads, losses in sorted(by.items()):
        loss, error = scores.mean_error(list(losses.values()))
        pairs = [losses[s] - by[best][s] for s in losses if s in by[best]]
        change, change_error = scores.mean_error(pairs)
        rows.append(
            {
                "heads": heads,
                "head_dim": WIDTH // heads,
                "losses": list(losses.values()),
                "loss": loss,
                "loss_error": error,
                "change": change,
                "change_error": None if heads == best else change_error,
                "published_perplexity": PUBLISHED.get(heads),
            }
        )
    return rows


def lines_of(rows):
    lines = [f"{'heads':>5s} {'of':>4s} {'loss':>16s} {'from the best':>18s}"]
    for row in rows:
        error = f"±{row['loss_error']:.4f}" if row["loss_error"] is not None else ""
        change = f"{row['change']:+.4f}"
        if row["change_error"] is not None:
            change += f"±{row['change_error']:.4f}"
        lines.append(
            f"{row['heads']:5d} {row['head_dim']:4d} "
            f"{row['loss']:.4f}{error:>8s} {change:>18s}"
        )
    return "\n".join(lines)


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--heads", default="1,2,4,8,16", metavar="LIST")
    count = whole_number(1)
    parser.add_argument("--seeds", type=count, default=3, metavar="N")
    parser.add_argument("--steps", type=count, default=400, metavar="N")
    parser.add_argument("--threads", type=count, default=1, metavar="N")
    parser.add_argument("--text", default="moby", metavar="FILE")
    parser.add_argument("--out", default="head_count.jsonl", metavar="FILE")
    parser.add_argument("--json", metavar="FILE", help="writes rows and what made them")
    parser.add_argument("--save", metavar="FOLDER", help="one model: 4 heads, seed 1")
    options = parser.parse_args(argv)
    options.heads = options.heads.split(",")
    for heads in options.heads:
        if not is_number(heads) or not int(heads) or WIDTH % (2 * int(heads)):
            parser.error(f"--heads {heads}: {WIDTH} channels need pairs in each head")
    options.heads = list(dict.fromkeys(map(int, options.heads)))
    if options.json:
        written.check("--json", options.json)
    return options


def wrong_in(entry):
    """What in a line of results is missing or of another type, or None."""
    if not isinstance(entry, dict):
        return "no object"
    kinds = {"key": str, "status": str, "heads": int, "seed": int}
    kinds.update(gradient_error=float, curve=list)
    for name, kind in kinds.items():
        if not isinstance(entry.get(name), kind):
            return name
    return None


def runs_of(options, settings, text, store, encode):
    """Every run that was asked for: those that are there, and new ones."""
    batch, asked = text.batch(np.random.default_rng(0)), []
    for seed in range(1, options.seeds + 1):
        for heads in options.heads:
            saves = options.save and (heads, seed) == (4, 1)
            key = results.key_of([settings, heads, seed])
            found = None if saves else store.find(key)
            if found is None:
                found, model = one_run(heads, seed, options.steps, text, batch)
                store.append({"key": key, "status": "OK", **found})
                if saves:
                    save(options.save, model, encode, text)
            names = ("heads", "seed", "gradient_error", "curve")
            asked.append({name: found[name] for name in names})
    return asked


def one_run(heads, seed, steps, text, batch):
    """(what a run found, its model); its first gradients are held to PyTorch's."""
    began = time.monotonic()
    off = gradient_error(heads, seed, batch)
    if not off < 1e-4:
        raise InputError(f"{heads} heads: gradients are {off:.1e} from torch's")
    model, curve = train(heads, seed, steps, text)
    seconds = time.monotonic() - began
    print(
        f"{heads} heads, seed {seed}: {curve[-1][1]:.4f} ({seconds:.0f} s)",
        file=sys.stderr,
    )
    found = {"heads": heads, "seed": seed, "gradient_error": off, "curve": curve}
    return found, model


def save(folder, model, encode, text):
    """A model, its tokenizer, and the text that it was not trained on."""
    model.save_pretrained(folder)
    encode.save_pretrained(folder)
    rest = pathlib.Path(folder) / "held_out.txt"
    rest.write_text(text.held_out, encoding="utf-8")


def run(argv):
    options = parse(argv)
    torch.set_num_threads(options.threads)
    network.keep_memory()
    heed.hf.register()
    label, words, sha256 = data.read_text(options.text)
    encode = tokenizer()
    text = Text(words, encode)
    settings = {
        "model": f"Llama of bytes, {LAYERS} layers of width {WIDTH}",
        "parameters": sum(p.numel() for p in model_of(1, 0).parameters()),
        "text": label,
        "text_sha256": sha256,
        "context": CONTEXT,
        "batch": BATCH,
        "steps": options.steps,
        "windows": WINDOWS,
        "rate": RATE,
    }
    store = results.Store(options.out, wrong_in=wrong_in)
    try:
        asked = runs_of(options, settings, text, store, encode)
    finally:
        store.close()
    rows = rows_of(asked)
    print(lines_of(rows))
    if options.json:
        result = {
            "command": "head_count.py " + shlex.join(argv),
            **settings,
            "seeds": options.seeds,
            "worst_gradient_error": max(r["gradient_error"] for r in asked),
            "cpu": runs.cpu_name(),
            "versions": network.versions(),
            "time": runs.now(),
            "rows": rows,
            "runs": asked,
        }
        written.write("--json", options.json, result, indent=1)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:]))
    except InputError as error:
        sys.exit(f"head_count.py: {error}")
