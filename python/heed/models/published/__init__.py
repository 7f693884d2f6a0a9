# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Published results, redone: a file a paper, or a group of them; `heed bars` runs them.

The rules are fixed: they were written before the first run, most by the numbers of
the papers. What a run finds changes labels, never rules.
"""
