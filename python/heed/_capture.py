# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed capture: the queries, keys and values of a model that reads a text."""

import argparse
import hashlib
import math
import os
import pathlib
import re
import sys

ABOUT = """\
Runs a causal language model of Hugging Face's over the first tokens of a text and
writes what goes into the attention of some layers, for heed compare --input.
"""
DETAILS = """\
The file has layer.L.query [seqlen, heads, head_dim], layer.L.key and layer.L.value
[seqlen, kv_heads, head_dim]: after RoPE, not scaled. Its metadata say what heed
compare needs to know: causal, softmax_scale, softcap and window_left; and model,
text, text_sha256, tokens, layers and perplexity.

Before a file stands under its name it is read again, attention is computed from it
in double precision, and compared with what the model's attention gave.
"""

PARTS = ("query", "key", "value")
# Of the root mean square of the model's own attention output: what rounding to the
# stored type leaves, with room.
TOLERANCE = {"f32": 1e-5, "f16": 4e-3, "bf16": 3e-2}
ROWS = 512  # whose scores are held at once while a file is checked


class _Refused(Exception):
    """With the sentence that says why."""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise _Refused(f"{message}; see 'heed capture --help'")


def _arguments(argv):
    parser = _Parser(
        prog="heed capture",
        description=ABOUT,
        epilog=DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="its folder, a .gguf file, or a name on the hub"
    )
    parser.add_argument("--text", required=True, metavar="FILE", help="in UTF-8")
    parser.add_argument(
        "--layers", required=True, metavar="LIST", help="such as 2,10-12, or all"
    )
    parser.add_argument(
        "--tokens",
        type=int,
        default=1024,
        metavar="N",
        help="from the start of the text (default 1024)",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="what to write")
    parser.add_argument(
        "--dtype", choices=sorted(TOLERANCE), default="f16", help="stored (default f16)"
    )
    return parser.parse_args(argv)


def parse_layers(text, count):
    """Returns the numbers of a list such as "2,10-12", or of "all"."""
    if text == "all":
        return list(range(count))
    layers = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part, re.ASCII)
        first = int(match[1]) if match else 1
        last = int(match[2] or match[1]) if match else 0
        if last < first:
            raise _Refused(f"--layers needs numbers such as 2,10-12, not {text!r}")
        if last >= count:
            raise _Refused(f"--layers {text}: the model has layers 0 to {count - 1}")
        layers.update(range(first, last + 1))
    return sorted(layers)


def _first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".:") if lines else type(error).__name__


def _name(model):
    """What a file says of a model: no folders of this machine."""
    path = pathlib.Path(model)
    return path.resolve().name if path.exists() else model


def _where(name):
    """How transformers is told of a model: a name, or a file in a folder."""
    path = pathlib.Path(name)
    if path.suffix != ".gguf":
        return name, {}
    if not path.is_file():
        raise _Refused(f"{name}: there is no such file")
    return str(path.parent), {"gguf_file": path.name}


def _load(kind, name, **more):
    folder, file = _where(name)
    try:
        return kind.from_pretrained(folder, **file, **more)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise _Refused(f"{name}: {_first_line(error)}") from None


def _read_tokens(options, config):
    import transformers

    try:
        data = pathlib.Path(options.text).read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise _Refused(f"--text {options.text}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _Refused(f"--text {options.text}: is not in UTF-8") from None
    most = getattr(config, "max_position_embeddings", None) or 1 << 31
    if not 2 <= options.tokens <= most:
        raise _Refused(f"--tokens needs 2 to {most}, not {options.tokens}")
    tokenizer = _load(transformers.AutoTokenizer, options.model)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    if ids.shape[1] < options.tokens:
        raise _Refused(
            f"--text {options.text}: has {ids.shape[1]} tokens, fewer than the "
            f"{options.tokens} of --tokens"
        )
    return ids[:, : options.tokens].long(), hashlib.sha256(data).hexdigest()


def _perplexity(logits, tokens):
    import torch

    last, loss = tokens.shape[1] - 1, 0.0
    for begin in range(0, last, ROWS):
        end = min(begin + ROWS, last)
        loss += torch.nn.functional.cross_entropy(
            logits[0, begin:end].double(), tokens[0, begin + 1 : end + 1], reduction="sum"
        ).item()
    loss /= last
    if not loss < 700:  # a NaN too; its exponential would overflow
        raise _Refused(f"the model has a loss of {loss:g} on the text: it is no use")
    return math.exp(loss)


def _one(layers, name):
    """What the metadata say for all layers: they must agree."""
    values = {layer: getattr(made, name) for layer, made in layers.items()}
    first = next(iter(values))
    for layer, value in values.items():
        if value != values[first]:
            raise _Refused(
                f"layers {first} and {layer} differ in {name}, which a file says "
                f"once ({values[first]} and {value}): capture them into two files"
            )
    return values[first]


def _attention(query, key, value, scale, window_left, softcap):
    """Causal attention in double precision, [seqlen, heads, head_dim]."""
    import torch

    tokens, heads, _ = query.shape
    group = heads // key.shape[1]
    out = torch.empty((tokens, heads, value.shape[2]), dtype=torch.float64)
    at = torch.arange(tokens)
    for head in range(heads):
        k, v = (x[:, head // group].double() for x in (key, value))
        for begin in range(0, tokens, ROWS):
            rows = at[begin : begin + ROWS, None]
            scores = scale * (query[begin : begin + ROWS, head].double() @ k.T)
            if softcap:
                scores = softcap * torch.tanh(scores / softcap)
            hidden = at > rows
            if window_left >= 0:
                hidden |= at < rows - window_left
            scores.masked_fill_(hidden, -math.inf)
            out[begin : begin + ROWS, head] = torch.softmax(scores, -1) @ v
    return out


def _check(path, layers, dtype):
    """Returns how far attention from the file is off the model's own, relative."""
    import safetensors.torch

    tensors = safetensors.torch.load_file(path)
    worst = 0.0
    for layer, made in layers.items():
        parts = (tensors[f"layer.{layer}.{part}"] for part in PARTS)
        window_left, _ = made.window_size
        got = _attention(*parts, made.softmax_scale, window_left, made.softcap)
        off = (got - made.out.double()).square().mean()
        if off != 0:
            off = float((off / made.out.double().square().mean()).sqrt())
        if not off <= TOLERANCE[dtype]:  # a NaN too
            raise _Refused(
                f"attention from what was written is {off:.1e} off the model's own, "
                f"more than {TOLERANCE[dtype]:.0e}"
            )
        worst = max(worst, off)
    return worst


def _tensors(layers, dtype):
    import torch

    kind = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype]
    tensors = {}
    for layer, made in layers.items():
        for part in PARTS:
            tensor = getattr(made, part).to(kind).contiguous()
            if not tensor.isfinite().all():
                raise _Refused(
                    f"layer {layer}: its {part} has values that {dtype} does not: "
                    "take another --dtype"
                )
            tensors[f"layer.{layer}.{part}"] = tensor
    return tensors


def _run(options):
    import torch
    import transformers

    from heed import _hf_capture

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = _load(transformers.AutoConfig, options.model).get_text_config()
    layers = parse_layers(options.layers, config.num_hidden_layers)
    tokens, text_sha256 = _read_tokens(options, config)
    out = pathlib.Path(options.out)
    if out.is_dir():
        raise _Refused(f"--out {options.out}: is a folder")
    partial = out.with_name(out.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        partial.open("wb").close()  # before the model runs, which takes long
    except OSError as error:
        raise _Refused(f"--out {options.out}: {error.strerror}") from None
    try:
        _hf_capture.register()
        model = _load(
            transformers.AutoModelForCausalLM,
            options.model,
            dtype=torch.float32,
            attn_implementation=_hf_capture.NAME,
        )
        try:
            captured = _hf_capture.capture(model, tokens, layers)
        except ValueError as error:
            raise _Refused(f"{options.model}: {error}") from None
        _write(options, captured, tokens, text_sha256, partial)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    print(f"wrote {options.out}: {out.stat().st_size} bytes")


def _write(options, captured, tokens, text_sha256, path):
    import safetensors.torch

    layers = captured.layers
    perplexity = _perplexity(captured.logits, tokens)
    metadata = {
        "format": "heed-qkv-1",
        "model": _name(options.model),
        "text": pathlib.Path(options.text).name,
        "text_sha256": text_sha256,
        "tokens": str(tokens.shape[1]),
        "layers": ",".join(map(str, layers)),
        "perplexity": f"{perplexity:.4f}",
        "causal": "true",
        "softmax_scale": repr(float(_one(layers, "softmax_scale"))),
        "softcap": repr(_one(layers, "softcap")),
        "window_left": str(_one(layers, "window_size")[0]),
    }
    tensors = _tensors(layers, options.dtype)
    mode = path.stat().st_mode & 0o777  # of the umask; safetensors makes it 0600
    try:
        safetensors.torch.save_file(tensors, path, metadata)
        path.chmod(mode)
    except (OSError, safetensors.SafetensorError) as error:
        raise _Refused(f"--out {options.out}: {_first_line(error)}") from None
    off = _check(path, layers, options.dtype)
    print(f"perplexity {perplexity:.4f}")
    print(f"attention from the file is {off:.1e} off the model's own, relative")


def main(argv):
    """The command, with what follows its name; returns the exit status."""
    try:
        options = _arguments(argv)
        try:
            import safetensors  # noqa: F401
            import torch  # noqa: F401
            import transformers  # noqa: F401
        except ImportError as error:
            raise _Refused(
                f"needs the package {error.name}: pip install 'heed[hf]'"
            ) from None
        _run(options)
    except _Refused as error:
        print(f"heed: capture: {error}", file=sys.stderr)
        return 2
    return 0
