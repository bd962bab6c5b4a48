"""The process that holds torch: `WorkerClient` starts it and asks it for segmentations.

Nothing here imports torch; only the process itself does (`python -m qnetseg.worker`).
"""

from .client import WorkerClient

__all__ = ["WorkerClient"]
