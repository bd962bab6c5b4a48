"""A process that holds torch and open volumes: Slicer drives it over QProcess, Python through `WorkerClient`.

Nothing here imports torch; only the process itself does (`python -m qnetseg.worker`).
"""

from .client import WorkerClient

__all__ = ["WorkerClient"]
