"""What the worker does with a request: the only place of the worker that imports torch.

Imports happen inside the functions, so that a missing or broken package becomes a sentence in the
answer to `hello` instead of a process that does not start.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import WorkerError
from .exchange import load_array
from .protocol import Segment

if TYPE_CHECKING:
    from ..model import Networks
    from ..segment.result import Segmentation
    from ..volume import SupportSet, Volume

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Job:
    """A `segment` request with its arrays read; background: (K, J, I) uint8 or None."""

    support: SupportSet
    query: Volume
    model: str | None
    options: dict[str, Any]
    device: str
    background: np.ndarray | None = None


def read_job(request: Segment, folder: Path) -> Job:
    """Read the files of a request. Raises WorkerError and the errors of SupportSet and Volume."""
    from ..volume import SupportSet, Volume

    query = load_array(folder / request.query, np.float32)
    return Job(
        support=SupportSet.load(folder / request.support),
        query=Volume.checked(query, np.array(request.ijk_to_ras), request.name),
        model=request.model,
        options=request.options,
        device=request.device,
        background=None if request.background is None else load_array(folder / request.background, np.uint8),
    )


def check_engine() -> str:
    """Import everything that a segmentation needs; returns torch's version. Raises WorkerError."""
    try:
        import torch

        torch.from_numpy(np.zeros(1))
        from ..models import resolve_model  # noqa: F401
        from ..segment import segment_volume  # noqa: F401
    except ModuleNotFoundError as error:
        raise WorkerError(
            f'The Python package "{error.name}" is not installed in "{sys.executable}".', "Install it there."
        ) from error
    except (ImportError, OSError) as error:  # OSError: a DLL of torch that does not load
        raise WorkerError(
            f"A Python package cannot be loaded: {_first_line(error)}.", "Install PyTorch again."
        ) from error
    except RuntimeError as error:  # "Numpy is not available": built for another major version
        raise WorkerError(
            f"PyTorch {torch.__version__} does not work with NumPy {np.__version__}: {_first_line(error)}.",
            "Install versions that fit together: PyTorch before 2.3 needs NumPy before 2.",
        ) from error
    return str(torch.__version__)


def auto_device() -> str:
    """What the device "auto" means here, e.g. "cuda"; "cpu" also where that cannot be found out.

    Looks only at a torch that `check_engine` has imported: the engines of tests have none.
    """
    if "torch" not in sys.modules:
        return "cpu"
    try:
        from ..segment.device import choose_device

        return choose_device()[0].type
    except Exception:  # a broken driver: the segmentation will say what is wrong, on the device it asks for
        traceback.print_exc()
        return "cpu"


class Backend:
    """Segments with the real engine; keeps the last networks loaded."""

    def __init__(self) -> None:
        self._key: tuple[str | None, tuple[tuple[int, int], ...]] | None = None
        self._networks: Networks | None = None

    def __call__(self, job: Job, progress: Progress, cancel: Callable[[], bool]) -> Segmentation:
        """Raises the errors of `SegmentOptions.from_dict`, `load_networks` and `segment_volume`."""
        from ..boxes import Box
        from ..segment import Job as Told
        from ..segment import SegmentOptions, segment_volume

        device = {} if job.device == "auto" else {"device": job.device}
        options = SegmentOptions.from_dict({**job.options, **device})
        networks = self.networks(job.model)
        background = None if job.background is None else Box.around(job.background)
        return segment_volume(job.support, job.query, networks, options, Told(progress, cancel), background)

    def networks(self, name: str | None) -> Networks:
        """Those of this model's name or path, read again only when a file has changed.

        Raises WeightsError, also for a file that has vanished since it was read.
        """
        from ..models import load_networks, resolve_model

        if name is not None:
            resolve_model(name)
        key = (name, self._stamps(name))
        if self._networks is None or key != self._key:
            self._networks = None  # never those of two models in memory
            self._networks, self._key = load_networks(name), key
        return self._networks

    @staticmethod
    def _stamps(name: str | None) -> tuple[tuple[int, int], ...]:
        """Time and size of the files that serve a model, as far as they are on this machine."""
        from ..models import find, read_catalogue

        paths = [find(entry) for entry in read_catalogue().models]
        if name is not None:
            paths.append(Path(name))
        stats = [path.stat() for path in paths if path is not None and path.is_file()]
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
