"""What the worker does with a request: the only place of the worker that imports torch.

Imports happen inside the functions, so that a missing or broken package becomes a sentence in the
answer to `hello` instead of a process that does not start.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import WorkerError
from .held import Held
from .protocol import Segment
from .requests import read_drawing, read_optional_box

if TYPE_CHECKING:
    from ..boxes import Box
    from ..model import Networks
    from ..segment import Job, Query, Segmentation
    from ..volume import Drawing, SupportSet


@dataclass(frozen=True)
class Task:
    """A `segment` request with its files read.

    drawn_on: the drawing's volume, where it is another one; result: where its structure lies in that one, if
    known. further: the structure of other patients.
    """

    support: SupportSet
    query: Query
    model: str | None
    options: dict[str, Any]
    device: str
    background: Box | None = None
    drawn_on: Query | None = None
    further: tuple[SupportSet, ...] = ()
    result: Box | None = None


def read_task(request: Segment, folder: Path, held: Held) -> Task:
    """Read the files of a request. Raises NotOpen, WorkerFailure, InputError and its kinds."""
    from ..volume import SupportSet

    query, drawn_on, result = held[request.query], None, None
    if request.drawing is not None:
        drawn_on = held[request.drawing.volume]
        support = drawn_on.pack(read_drawing(folder, request.drawing))
        if drawn_on is not query:
            result = read_optional_box(folder, request.drawing.result)
    else:
        assert request.support is not None
        support = SupportSet.load(folder / request.support)
    held.forget_features(query)
    background = read_optional_box(folder, request.background)
    other = None if drawn_on is query else drawn_on
    further = tuple(SupportSet.load(folder / name) for name in request.further)
    held.keep_patients([support, *further])
    how = (request.model, request.options, request.device)
    return Task(support, query, *how, background, other, further, result)


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

    def __call__(self, task: Task, job: Job) -> Segmentation:
        """Raises the errors of `SegmentOptions.from_dict`, `load_networks` and `segment_volume`."""
        from ..segment import SegmentOptions, segment_volume

        device = {} if task.device == "auto" else {"device": task.device}
        options = SegmentOptions.from_dict({**task.options, **device})
        networks = self.networks(task.model)
        result = None
        if task.drawn_on is not None and task.result is not None:
            result = task.result.placed(task.drawn_on.shape)
        where = (task.background, task.drawn_on, task.further, result)
        return segment_volume(task.support, task.query, networks, options, job, *where)

    def pack(self, drawing: Drawing, volume: Query, job: Job, result: Box | None = None) -> SupportSet:
        """A drawing with its image and the patient that it was made on. Raises as `with_patient`."""
        from ..segment import with_patient

        networks = self._networks or self.networks(None)
        whole = None if result is None else result.placed(volume.shape)
        return with_patient(volume.pack(drawing), volume, networks, job=job, result=whole)

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
