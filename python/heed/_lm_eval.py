# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed-lm-eval: lm-evaluation-harness, whose models may have heed's attention.

    heed-lm-eval --model hf --model_args pretrained=MODEL,attn_implementation=heed \\
        --tasks TASK

Everything else is lm_eval's own command line.
"""

import sys

_NAMES = ["--model_args"[:length] for length in range(len("--model_"), 13)]


def _names_no_attention(words):
    """Whether a command line has --model_args, and none says attn_implementation."""
    # argparse takes --model_args=X, -aX and abbreviations: --model is another option.
    named = any(
        (word.startswith("-a") or word.split("=")[0] in _NAMES) for word in words
    )
    return named and "attn_implementation" not in " ".join(words)


def main():
    try:
        from lm_eval.__main__ import cli_evaluate

        from heed import hf
    except ImportError as error:
        sys.exit(
            f"heed-lm-eval: needs the package {error.name}: pip install 'heed[lm-eval]'"
        )
    hf.register()
    if _names_no_attention(sys.argv[1:]):
        print(
            "heed-lm-eval: --model_args has no attn_implementation=heed: the model "
            "runs on its own attention",
            file=sys.stderr,
        )
    cli_evaluate()
