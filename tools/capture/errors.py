# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a way that the user can mend."""


class CaptureError(Exception):
    """A problem to report to the user without a traceback."""
