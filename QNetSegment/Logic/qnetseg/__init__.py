"""QNetSegment's engine: segments a volume from one drawn slice, without training on the structure.

Nothing is imported here, so that reading the version or a volume does not wait for torch. Start
with `qnetseg.volume` (images and drawn slices), `qnetseg.model` (weights) and `qnetseg.segment`
(`segment_volume`, the one function that the command line, the worker and Slicer all call).
"""

from __future__ import annotations

__version__ = "0.2.0"
