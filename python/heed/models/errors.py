# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a user can mend."""


class InputError(Exception):
    """One sentence that says what was wrong, shown without a traceback."""
