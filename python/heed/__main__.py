# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""python -m heed: the command."""

from heed._command import main

main()
