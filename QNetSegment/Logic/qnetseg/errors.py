"""Typed errors of the engine: what went wrong, why, and what to do about it.

Every error that a user can cause derives from `QNetSegmentError`. The command line prints
`str(error)` on one line and exits with `exit_code`; the worker sends `kind`, `message` and
`advice` over its protocol.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class QNetSegmentError(Exception):
    """Base of all errors shown to a user.

    `message` says what is wrong and why, `advice` what to do; both are single sentences. `details` are to be
    copied into a report: a log or a traceback.
    """

    exit_code = 2

    def __init__(self, message: str, advice: str = "", details: str = "") -> None:
        super().__init__(message)
        self.message, self.advice, self.details = message, advice, details

    @property
    def kind(self) -> str:
        """Class name, used as the `kind` of a worker's error event."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class InputError(QNetSegmentError):
    """A file or an argument that cannot be used."""


class VolumeError(InputError):
    """An image volume that cannot be segmented: missing, truncated, not 3-D, NaN, constant."""


class FileWarning(UserWarning):
    """Something odd about a file that is used all the same; one sentence for the user."""


def tell_oddity(sentence: str) -> None:
    """Warn of something odd about a file, see `FileWarning`."""
    warnings.warn(sentence, FileWarning, stacklevel=3)


@contextmanager
def heard_oddities() -> Iterator[list[str]]:
    """Collect the sentences of all `FileWarning`s within it, each once; the list is filled at its end."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FileWarning)
        try:
            yield said
        finally:
            said += dict.fromkeys(str(one.message) for one in caught if one.category is FileWarning)


class MaskError(InputError):
    """A drawn mask that cannot serve as a support: empty, wrong shape, label not present."""


class GeometryError(InputError):
    """Two images whose grids do not belong together."""


class OutputError(QNetSegmentError):
    """A result that could not be written; what was there before is still there."""


class WeightsError(QNetSegmentError):
    """A weights file that is missing, damaged or does not fit the model."""


class NetworkError(QNetSegmentError):
    """A network whose answer is no number, so that there is no result."""


class DeviceError(QNetSegmentError):
    """A compute device that was asked for and cannot be used."""


class WorkerError(QNetSegmentError):
    """The worker process ended, or said something that is not the protocol."""


class ClusterError(QNetSegmentError):
    """A cluster that cannot be reached or started."""


class DatasetError(QNetSegmentError):
    """A training or evaluation data set that is missing, incomplete or inconsistent."""


class RecipeError(QNetSegmentError):
    """A training recipe with an unknown or impossible entry."""


class TrainingError(QNetSegmentError):
    """A training run that cannot go on; its last checkpoint is still there."""


def why(error: OSError) -> str:
    """The reason in words; an OSError that a library raises may have its sentence elsewhere, or none."""
    return error.strerror or str(error) or type(error).__name__


OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out; torch has no common type for it."""
    return isinstance(error, MemoryError) or any(part in str(error).lower() for part in OUT_OF_MEMORY)


class Cancelled(QNetSegmentError):
    """The caller asked to stop; nothing was produced."""

    exit_code = 130
