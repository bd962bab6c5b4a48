"""The engine in a worker that a command of the user starts, as on another machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .common import Bar
from .inputs import Inputs

if TYPE_CHECKING:
    from ..boxes import Box
    from ..segment import Query, Segmentation
    from ..volume import SupportSet, Volume
    from ..worker import WorkerClient
    from ..worker.protocol import Opened
    from .compute import Segment


def add_worker(parser: argparse.ArgumentParser) -> None:
    """The option that chooses the process that computes."""
    parser.add_argument(
        "--worker",
        metavar="COMMAND",
        help="compute in the process that this command starts, as in 'ssh gpu-box qnetseg worker'; models and"
        " devices are then those of that machine (default: this process)",
    )


@contextmanager
def engine(
    command: str, inputs: Inputs, model: str | None, device: str, options: dict[str, Any], whole: bool
) -> Iterator[Segment]:
    """A function as that of `compute.engine`, for the structures of `inputs`, as long as it is entered.

    whole: whether the confidence of all voxels is wanted; else it is 0 beside the mask. Raises InputError for
    a command that cannot be read, and what `WorkerClient` raises.
    """
    from ..worker import WorkerClient
    from ..worker.process import split_command

    with WorkerClient(split_command(command)) as client:
        scan = _opened(client, inputs.volume)
        other = None if inputs.another is None else _opened(client, inputs.image)
        drawings = {id(one.support): one.drawing for one in inputs.structures}
        how: dict[str, Any] = {"model": model, "device": device, "options": options}

        def segment(
            support: SupportSet, query: Query, background: Box | None, drawn_on: Query | None
        ) -> Segmentation:
            from ..segment import Job, Segmentation

            example = drawings[id(support)] or support
            where = other if drawn_on is not None else None
            asked = {**how, "background": background, "confidence_of": "volume" if whole else "mask"}
            with Bar(support.name) as bar:
                found = client.segment(example, scan, where, job=Job(bar.show), **asked)
            assert found.confidence is not None
            confidence = found.confidence
            if not whole:
                confidence = np.zeros(query.shape, np.float32)
                confidence[found.mask.where][found.mask.mask] = found.confidence
            return Segmentation(found.mask.placed(query.shape).view(np.uint8), confidence, found.report)

        yield segment


def _opened(client: WorkerClient, volume: Volume | None) -> Opened:
    from ..segment import Job

    assert volume is not None
    with Bar("volume", unit="B", scale=True) as bar:
        return client.open(volume, job=Job(bar.show))
