# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a user can mend, and how a command says it."""

import sys


class InputError(Exception):
    """One sentence that says what was wrong, shown without a traceback."""


def run_command(name, run, argv, interrupted=None):
    """Returns the exit status of `heed NAME`: run(argv)'s, 1 or 130.

    1 where it raised InputError, whose sentence goes to stderr; 130 where it was
    interrupted, with the sentence `interrupted`.
    """
    try:
        return run(argv)
    except InputError as error:
        print(f"heed {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if interrupted:
            print(f"heed {name}: {interrupted}", file=sys.stderr)
        return 130
