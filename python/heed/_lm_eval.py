# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed-lm-eval: lm-evaluation-harness, whose models may have heed's attention.

    heed-lm-eval --model hf --model_args pretrained=MODEL,attn_implementation=heed \\
        --tasks TASK

Everything else is lm_eval's own command line.
"""

import sys


def main():
    try:
        from lm_eval.__main__ import cli_evaluate

        from heed import hf
    except ImportError as error:
        sys.exit(
            f"heed-lm-eval: needs the package {error.name}: pip install 'heed[lm-eval]'"
        )
    hf.register()
    words = sys.argv[1:]
    if "--model_args" in words and "attn_implementation" not in " ".join(words):
        print(
            "heed-lm-eval: --model_args has no attn_implementation=heed: the model "
            "runs on its own attention",
            file=sys.stderr,
        )
    cli_evaluate()
