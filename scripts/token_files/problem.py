# SPDX-License-Identifier: Apache-2.0
"""What a person must put right: one message."""


class Problem(Exception):
    """Bad input (exit code 1)."""


class BadLine(Problem):
    """A record that cannot be used; the place is added by whoever knows it."""
