"""Every failure is told to the user, also one that nobody thought of."""

from __future__ import annotations

import logging

from qnetseg.errors import QNetSegmentError
from qnetseg.worker import failures


def typed(error: Exception) -> QNetSegmentError:
    """The error itself, or for one that no user can have caused a sentence, with the traceback as details."""
    if not isinstance(error, QNetSegmentError):
        logging.error("QNetSegment", exc_info=error)
    return failures.typed(error)
