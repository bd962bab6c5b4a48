"""From drawn slices and a volume to a mask, a confidence and a report."""

from .engine import segment_volume
from .options import SegmentOptions
from .result import Report, Segmentation, SliceReport

__all__ = ["Report", "Segmentation", "SegmentOptions", "SliceReport", "segment_volume"]
