# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Items of a task, made by hand."""


def items(right, n=20, chance=0.125):
    return [
        {
            "document": i % 4,
            "chance": chance,
            "right": i < right,
            "margin": 1.0 if i < right else -1.0,
            "margin_mean": 2.0,
            "logp": -1.0,
        }
        for i in range(n)
    ]
