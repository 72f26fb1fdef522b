"""The errors a person meets: one or two lines that say what was wrong, where, and what to do."""

from __future__ import annotations


class RestoreError(Exception):
    """The work failed. The command line prints the message and exits with 1."""

    exit_code = 1


class RequestError(RestoreError):
    """What was asked for cannot be done as asked. The command line prints the message and exits with 2."""

    exit_code = 2


class MediaError(RestoreError):
    """A file could not be read or written although the request made sense: damaged, truncated, disk full."""
