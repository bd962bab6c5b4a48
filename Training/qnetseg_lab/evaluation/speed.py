"""Speed and memory as ratios within one run, never as timed tests."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from qnetseg.model import Networks, QNet, QNetConfig, Refinement
from qnetseg.segment import SegmentOptions, segment_volume
from qnetseg.segment.device import choose_device
from qnetseg.volume import Volume, support_from_mask

from ..provenance import peak_gib
from .body_phantom import body_phantom, largest_slice
from .metrics import dice
from .results import describe_run, write_json
from .whole_volume.collections import make_study
from .whole_volume.methods import draw
from .whole_volume.methods.grow_cut import Grower

Result = TypeVar("Result")

REPEATS = 3  # timed runs, the quickest of which counts
BUSY = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    pass
"""


def inference(
    weights: str | Path,
    slices: int = 36,
    reference_slices: int = 4,
    device: str = "auto",
    output: str | Path | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Time Q-Net slice by slice, as `segment_volume` runs it, against the paper's arithmetic.

    The reference is a ResNet-101 Q-Net in float32 that encodes the support again for every query slice and
    takes seven released refinement steps. Its time a slice depends neither on the weights nor on the number
    of slices, so it is measured on a few, with random weights.

    Args:
        weights: of the Q-Net to time.
        slices: slices of 256 x 256 in the synthetic volume.
        reference_slices: slices that the reference is measured on.
        device: see `SegmentOptions`.
        output: JSON file to write; None writes none.
        report: receives the lines of the summary.

    Returns:
        Seconds, ratios, the Dice of bf16 against float32 masks, and the peak memory of a process that
        does nothing else.
    """
    reference = _time_reference(reference_slices, device)
    ours = in_fresh_process(_time_ours, str(weights), slices, device)
    content = {
        "bench": "inference",
        "method": "q-net",
        "slices": slices,
        "reference_slices": reference_slices,
        "reference_seconds_per_slice": reference,
        "first_seconds": ours["first"],
        "warm_seconds": ours["warm"],
        "warm_seconds_per_slice": ours["warm"] / slices,
        "ratio": reference * slices / ours["warm"],
        "precision": ours["precision"],
        "dice_against_fp32": ours["dice_against_fp32"],
        "peak_gib": ours["peak_gib"],
        **describe_run(Path(weights), ours["device"]),
    }
    report(f"paper's arithmetic   {reference:7.2f} s a slice ({reference_slices} slices measured)")
    report(
        f"Q-Net here           {content['warm_seconds_per_slice']:7.2f} s a slice,"
        f" {ours['warm']:.1f} s for {slices} slices (first time {ours['first']:.1f} s), {ours['precision']}"
    )
    report(f"ratio                {content['ratio']:7.1f}")
    report(f"peak memory          {ours['peak_gib']:7.2f} GiB")
    report(f"Dice against float32 {ours['dice_against_fp32']:7.4f}")
    if output is not None:
        write_json(output, content)
    return content


def _time_reference(count: int, device: str) -> float:
    """Seconds a slice of the paper's arithmetic, without our folding, mixed precision or batches."""
    torch.manual_seed(0)
    where, _ = choose_device(device)
    network = QNet(QNetConfig(depth=101)).eval().to(where)
    volume, mask = body_phantom((count, 256, 256))
    images = torch.from_numpy(volume.array).to(where)
    target = torch.from_numpy(largest_slice(mask).max(axis=0)).float()[None, None].to(where)
    refinement = Refinement("released", steps=7)
    began = time.perf_counter()
    with torch.no_grad():
        for image in images:
            support, query = network.encode(image[None]), network.encode(image[None])
            network.predict(network.condition(support, target), query, (256, 256), refinement).cpu()
    return (time.perf_counter() - began) / count


def _time_ours(weights: str, slices: int, device: str) -> dict[str, Any]:
    """First and warm seconds of `segment_volume`, measured in a process of its own."""
    networks = Networks(qnet=Path(weights))
    volume, mask = body_phantom((slices, 256, 256))
    support = support_from_mask(volume, largest_slice(mask), plane="axial")
    options, seconds = SegmentOptions(method="q-net", device=device), []
    for _ in range(2):
        began = time.perf_counter()
        result = segment_volume(support, volume, networks, options)
        seconds.append(time.perf_counter() - began)
    peak = peak_gib()
    exact = segment_volume(support, volume, networks, replace(options, precision="fp32"))
    return {
        "first": seconds[0],
        "warm": seconds[1],
        "peak_gib": peak,
        "device": result.report.device,
        "precision": result.report.precision,
        "dice_against_fp32": dice(result.mask, exact.mask),
    }


def correction(
    weights: str | Path,
    slices: int = 36,
    size: int = 256,
    options: SegmentOptions | None = None,
    output: str | Path | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Time one drawn slice, then a second one on the same volume, beside Slicer's grow-cut on both.

    All seconds but the very first are the least of `REPEATS` runs. Grow-cut keeps for the second drawing what
    it knows from the first.

    Args:
        weights: of the propagation network to time.
        slices: of the synthetic volume.
        size: pixels along a slice's edge; the field of view stays the same.
        options: device, precision and threads.
        output: JSON file to write; None writes none.
        report: receives the lines of the summary.

    Returns:
        Seconds of the very first run of a process, of later ones and after the correction, both of them also
        while a busy process holds every core, and of grow-cut (None where slicer-core is missing); ours as
        ratios to the quiet time and to grow-cut's; voxels that differ when run again and with one thread; and
        the peak memory of a process that does nothing else.
    """
    options = options or SegmentOptions()
    ours = in_fresh_process(_time_correction, str(weights), slices, size, options)
    grown = in_fresh_process(_time_grow_cut, slices, size) if find_spec("slicer_core") is not None else None
    first, corrected = ours["first_seconds"], ours["correction_seconds"]
    content = {
        "bench": "correction",
        "slices": slices,
        "size": size,
        "threads": options.threads,
        "repeats": REPEATS,
        **ours,
        "correction_ratio": corrected / first,
        "busy_first_ratio": ours["busy_first_seconds"] / first,
        "busy_correction_ratio": ours["busy_correction_seconds"] / corrected,
        "growcut_seconds": grown,
        "growcut_ratio": None if grown is None else first / grown[0],
        "growcut_correction_ratio": None if grown is None else corrected / grown[1],
        **describe_run(Path(weights), ours["device"]),
    }
    for line in _correction_lines(content):
        report(line)
    if output is not None:
        write_json(output, content)
    return content


def _correction_lines(content: dict[str, Any]) -> Iterator[str]:
    volume = f"{content['slices']} slices of {content['size']} x {content['size']}"
    first, corrected = content["first_seconds"], content["correction_seconds"]
    yield f"one drawn slice      {first:7.2f} s for {volume}, {content['precision']}"
    yield f"                     {content['cold_seconds']:7.2f} s the very first time"
    yield f"after a correction   {corrected:7.2f} s, {content['correction_ratio']:.2f} of it"
    yield (
        f"beside other work    {content['busy_first_seconds']:7.2f} s, {content['busy_first_ratio']:.1f}"
        f" times the quiet time; after a correction {content['busy_correction_ratio']:.1f} times"
    )
    yield (
        f"other voxels         {content['other_voxels_again']:7d} in a second run,"
        f" {content['other_voxels_one_thread']} with one thread, of {content['voxels']}"
    )
    yield f"peak memory          {content['peak_gib']:7.2f} GiB"
    if content["growcut_seconds"] is None:
        yield "grow-cut             not measured: slicer-core is not installed"
        return
    grown, again = content["growcut_seconds"]
    yield (
        f"grow-cut             {grown:7.2f} s, after a correction {again:.2f} s; ours takes"
        f" {content['growcut_ratio']:.2f} and {content['growcut_correction_ratio']:.2f} of that"
    )


def _correction_phantom(slices: int, size: int) -> tuple[Volume, np.ndarray, list[list[int]]]:
    """Volume and mask, and the slices that are drawn at first and after the correction."""
    volume, mask = body_phantom((slices, size, size), (277 / slices, 320 / size, 320 / size))
    occupied = np.flatnonzero(mask.any(axis=(1, 2)))
    first = int(mask.sum(axis=(1, 2)).argmax())
    return volume, mask, [[first], sorted({first, int(occupied[len(occupied) // 4])})]


def _time_correction(weights: str, slices: int, size: int, options: SegmentOptions) -> dict[str, Any]:
    networks = Networks(propagation=Path(weights))
    volume, mask, drawings = _correction_phantom(slices, size)
    supports = [support_from_mask(volume, _only(mask, drawn), plane="axial") for drawn in drawings]
    began = time.perf_counter()
    result = segment_volume(supports[0], volume, networks, options)
    cold = time.perf_counter() - began
    runs = [partial(segment_volume, support, volume, networks, options) for support in supports]
    first, corrected = _least_seconds(lambda: runs)
    peak = peak_gib()
    again, alone = (
        segment_volume(supports[0], volume, networks, each) for each in (options, replace(options, threads=1))
    )
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    with _every_core_busy():
        busy_first, busy_corrected = _least_seconds(lambda: runs)
    return {
        "cold_seconds": cold,
        "first_seconds": first,
        "correction_seconds": corrected,
        "busy_first_seconds": busy_first,
        "busy_correction_seconds": busy_corrected,
        "voxels": int(result.mask.sum()),
        "other_voxels_again": int((result.mask != again.mask).sum()),
        "other_voxels_one_thread": int((result.mask != alone.mask).sum()),
        "peak_gib": peak,
        "device": result.report.device,
        "precision": result.report.precision,
    }


def _time_grow_cut(slices: int, size: int) -> list[float]:
    volume, mask, drawings = _correction_phantom(slices, size)
    study = make_study("phantom", volume, mask.astype(np.int32), "axial")
    tasks = [draw(study, study.mask(1), "organ", drawn) for drawn in drawings]

    def runs() -> list[Callable[[], Any]]:
        grower = Grower(tasks[0])  # which knows nothing yet
        return [partial(grower, task) for task in tasks]

    return _least_seconds(runs)


def _least_seconds(make: Callable[[], Sequence[Callable[[], Any]]]) -> list[float]:
    """Of `REPEATS` rounds the least seconds of each run; `make` gives a round's runs."""
    rounds = [[seconds_of(run) for run in make()] for _ in range(REPEATS)]
    return [min(column) for column in zip(*rounds, strict=True)]


def seconds_of(run: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


@contextlib.contextmanager
def _every_core_busy() -> Iterator[None]:
    """A process that only computes for every core. They end with this one, too, however it ends."""
    with contextlib.ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            process = subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE)
            stack.enter_context(process)  # which waits for its end
            stack.callback(process.kill)
        yield


def _only(mask: np.ndarray, slices: list[int]) -> np.ndarray:
    drawn = np.zeros_like(mask)
    drawn[slices] = mask[slices]
    return drawn


def in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a new process, so that the peak memory is the function's own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
