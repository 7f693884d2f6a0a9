# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The types that signatures name."""

from typing import Any, Protocol, Sequence, Tuple, Union


class SupportsDlpack(Protocol):
    """A tensor of numpy, torch, jax or another library that has DLPack."""

    def __dlpack__(self, **kwargs: Any) -> Any: ...

    def __dlpack_device__(self) -> Tuple[int, int]: ...


# Objects of the buffer protocol have no type before Python 3.12.
Tensor = Union[SupportsDlpack, memoryview, Any]
Integers = Union[Tensor, Sequence[int]]
Window = Tuple[int, int]
