"""Time and memory of another patient's volume, beside those of the drawn one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qnetseg.model import Networks
from qnetseg.segment import Query, SegmentOptions, segment_volume, with_patient
from qnetseg.volume import Drawing

from ..provenance import peak_gib
from .body_phantom import body_phantom, largest_slice
from .results import describe_run, run_name, sha256, write_json
from .speed import REPEATS, in_fresh_process, seconds_of


def another_patient(
    propagation: str | Path,
    qnet: str | Path,
    slices: int = 36,
    size: int = 256,
    options: SegmentOptions | None = None,
    output: str | Path | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Time one structure in other patients' volumes, after an example that is kept, as a library keeps it.

    Args:
        propagation, qnet: weights of both networks.
        slices: of each synthetic volume.
        size: pixels along a slice's edge; the field of view stays the same.
        options: device, precision and threads.
        output: JSON file to write; None writes none.
        report: receives the lines of the summary.

    Returns:
        Seconds in the drawn volume itself (the least of `REPEATS`), in the first other volume, with which the
        example is readied and Q-Net read, and in later ones (the least of `REPEATS`); these also as a
        multiple of the drawn volume's; and the peak memory of a process that does nothing else.
    """
    options = options or SegmentOptions()
    ours = in_fresh_process(_time_across, Path(propagation), Path(qnet), slices, size, options)
    content = {
        "bench": "another patient",
        "slices": slices,
        "size": size,
        "threads": options.threads,
        "repeats": REPEATS,
        **ours,
        "kept_ratio": ours["kept_seconds"] / ours["own_seconds"],
        **describe_run(Path(propagation), ours["device"]),
        "further_weights": {run_name(Path(qnet)): sha256(Path(qnet))},
    }
    for line in _lines(content):
        report(line)
    if output is not None:
        write_json(output, content)
    return content


def _lines(content: dict[str, Any]) -> Iterator[str]:
    volume = f"{content['slices']} slices of {content['size']} x {content['size']}"
    yield f"the drawn volume     {content['own_seconds']:7.2f} s for {volume}, {content['precision']}"
    yield f"the first other one  {content['first_seconds']:7.2f} s, the example is readied in that, too"
    yield (
        f"each later one       {content['kept_seconds']:7.2f} s, {content['kept_ratio']:.1f} times the drawn"
        " one's time"
    )
    yield f"peak memory          {content['peak_gib']:7.2f} GiB"


def _time_across(
    propagation: Path, qnet: Path, slices: int, size: int, options: SegmentOptions
) -> dict[str, Any]:
    networks = Networks(propagation, qnet)
    shape, spacing = (slices, size, size), (277 / slices, 320 / size, 320 / size)
    volume, mask = body_phantom(shape, spacing)
    others = [Query.of(body_phantom(shape, spacing, seed=1 + number)[0]) for number in range(1 + REPEATS)]
    drawn_on = Query.of(volume)
    support = drawn_on.pack(Drawing.of_mask(largest_slice(mask), volume.shape, plane="axial"))

    def seconds(query: Query) -> float:
        return seconds_of(lambda: segment_volume(support, query, networks, options))

    report = segment_volume(support, drawn_on, networks, options).report  # reads the network
    own = min(seconds(drawn_on) for _ in range(REPEATS))
    began = time.perf_counter()
    support = with_patient(support, drawn_on, networks, options)
    segment_volume(support, others[0], networks, options)
    first = time.perf_counter() - began
    kept = [seconds(other) for other in others[1:]]
    return {
        "own_seconds": own,
        "first_seconds": first,
        "kept_seconds": min(kept),
        "peak_gib": peak_gib(),
        "device": report.device,
        "precision": report.precision,
    }
