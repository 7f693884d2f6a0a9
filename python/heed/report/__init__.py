# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed report`: one page of all that was measured of a model."""
