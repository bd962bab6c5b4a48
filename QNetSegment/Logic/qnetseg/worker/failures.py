"""Errors of the worker that no user has caused, and how errors travel by their kind."""

from __future__ import annotations

import traceback

from .. import errors


class WorkerFailure(errors.WorkerError):
    """The worker process, or the way to it, failed; the details are its log or a traceback."""


class InternalError(WorkerFailure):
    """Something failed inside the worker that no user can have caused."""


class ProtocolError(WorkerFailure):
    """A line that is not a message; `request_id` is the id found in it, if any."""

    def __init__(self, message: str, request_id: str | None = None, advice: str = "") -> None:
        super().__init__(message, advice or "Make sure that both sides come from the same QNetSegment.")
        self.request_id = request_id


class NotOpen(errors.WorkerError):
    """The volume of a request is not open: it was closed, or let go of to make room for others."""

    def __init__(
        self,
        message: str = "The volume is not open any more.",
        advice: str = "Open it again.",
        details: str = "",
    ) -> None:
        super().__init__(message, advice, details)


def typed(error: BaseException) -> errors.QNetSegmentError:
    """The error itself, or for one that no user can have caused an `InternalError`."""
    return error if isinstance(error, errors.QNetSegmentError) else internal_error(error)


def internal_error(error: BaseException) -> InternalError:
    """The typed error for an exception that is a bug of ours, or a machine without memory."""
    details = "".join(traceback.format_exception(error))
    if errors.is_out_of_memory(error):
        message = "There was not enough memory for this segmentation."
        advice = "Close other programs, or crop the volume to the region around the structure."
    else:
        summary = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        message = f"The segmentation failed inside the program ({summary})."
        advice = "Report it together with the details."
    return InternalError(message, advice, details)


def error_kinds(
    base: type[errors.QNetSegmentError] = errors.QNetSegmentError,
) -> dict[str, type[errors.QNetSegmentError]]:
    """Every kind of error by its name."""
    found = {base.__name__: base}
    for kind in base.__subclasses__():
        found.update(error_kinds(kind))
    return found
