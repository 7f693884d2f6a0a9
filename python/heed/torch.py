# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""heed for PyTorch: an operator with gradients, and scaled_dot_product_attention.

    import heed.torch
    out = heed.torch.attention(q, k, v, causal=True)      # [b, s, h, d], as heed's
    with heed.torch.replace_sdpa():                       # any model, unchanged
        model(tokens)

The operator torch.ops.heed.attention has fake and autograd registrations, so
that torch.compile(fullgraph=True) and training work. Backward is PyTorch's own
flash backward, from heed's out and lse. Threads are those of torch's OpenMP.
"""

from heed._torch_attention import attention
from heed._torch_sdpa import (
    Replacement,  # noqa: F401  what replace_sdpa() gives
    replace_sdpa,
    scaled_dot_product_attention,
)

__all__ = ["attention", "replace_sdpa", "scaled_dot_product_attention"]
