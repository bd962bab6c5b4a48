"""Speed and memory as ratios within one run, never as timed tests."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ..model import QNet, QNetConfig, Refinement, load_model
from ..provenance import peak_gib
from ..segment import FeatureCache, SegmentOptions, segment_volume
from ..segment.device import choose_device
from ..volume import Volume, support_from_mask
from .metrics import dice
from .phantom import body_phantom, largest_slice
from .results import describe_run, write_json
from .whole_volume.rivals import draw, run_method
from .whole_volume.studies import make_study

Result = TypeVar("Result")


def inference(
    weights: str | Path,
    slices: int = 36,
    reference_slices: int = 4,
    device: str = "auto",
    output: str | Path | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Time `segment_volume` against the paper's arithmetic.

    The reference is a ResNet-101 Q-Net in float32 that encodes the support again for every query slice and
    takes seven released refinement steps. Its time a slice depends neither on the weights nor on the number
    of slices, so it is measured on a few, with random weights.

    Args:
        weights: model to time.
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
    ours = _in_fresh_process(_time_ours, str(weights), slices, device)
    content = {
        "bench": "inference",
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
        f"qnetseg              {content['warm_seconds_per_slice']:7.2f} s a slice,"
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
    model = load_model(weights)
    volume, mask = body_phantom((slices, 256, 256))
    support = support_from_mask(volume, largest_slice(mask), plane="axial")
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        result = segment_volume(support, volume, model, SegmentOptions(device=device))
        seconds.append(time.perf_counter() - began)
    peak = peak_gib()
    exact = segment_volume(support, volume, model, SegmentOptions(device=device, precision="fp32"))
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
    device: str = "auto",
    output: str | Path | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Time one drawn slice, then a second one on the same volume, beside Slicer's grow-cut on both.

    Args:
        weights: model to time.
        slices: of the synthetic volume.
        size: pixels along a slice's edge; the field of view stays the same.
        device: see `SegmentOptions`.
        output: JSON file to write; None writes none.
        report: receives the lines of the summary.

    Returns:
        Seconds of the first run and of the one after the correction, of grow-cut for both (None where
        slicer-core is missing), their ratios, and the peak memory of a process that does nothing else.
    """
    ours = _in_fresh_process(_time_correction, str(weights), slices, size, device)
    grown = _in_fresh_process(_time_grow_cut, slices, size) if find_spec("slicer_core") is not None else None
    content = {
        "bench": "correction",
        "slices": slices,
        "size": size,
        **ours,
        "correction_ratio": ours["correction_seconds"] / ours["first_seconds"],
        "growcut_seconds": grown,
        "growcut_ratio": None if grown is None else ours["first_seconds"] / grown[0],
        **describe_run(Path(weights), ours["device"]),
    }
    report(f"one drawn slice      {ours['first_seconds']:7.1f} s for {slices} slices of {size} x {size}")
    report(
        f"after a correction   {ours['correction_seconds']:7.1f} s, {content['correction_ratio']:.2f} of it"
    )
    report(f"peak memory          {ours['peak_gib']:7.2f} GiB")
    if grown is None:
        report("grow-cut             not measured: slicer-core is not installed")
    else:
        report(f"grow-cut             {grown[0]:7.1f} s, after a correction {grown[1]:.1f} s")
    if output is not None:
        write_json(output, content)
    return content


def _correction_phantom(slices: int, size: int) -> tuple[Volume, np.ndarray, list[list[int]]]:
    """Volume and mask, and the slices that are drawn at first and after the correction."""
    volume, mask = body_phantom((slices, size, size), (277 / slices, 320 / size, 320 / size))
    occupied = np.flatnonzero(mask.any(axis=(1, 2)))
    first = int(mask.sum(axis=(1, 2)).argmax())
    return volume, mask, [[first], sorted({first, int(occupied[len(occupied) // 4])})]


def _time_correction(weights: str, slices: int, size: int, device: str) -> dict[str, Any]:
    model, cache = load_model(weights), FeatureCache()
    volume, mask, drawings = _correction_phantom(slices, size)
    seconds = []
    for drawn in drawings:
        support = support_from_mask(volume, _only(mask, drawn), plane="axial")
        began = time.perf_counter()
        result = segment_volume(support, volume, model, SegmentOptions(device=device), cache=cache)
        seconds.append(time.perf_counter() - began)
    return {
        "first_seconds": seconds[0],
        "correction_seconds": seconds[1],
        "peak_gib": peak_gib(),
        "device": result.report.device,
        "precision": result.report.precision,
    }


def _time_grow_cut(slices: int, size: int) -> list[float]:
    volume, mask, drawings = _correction_phantom(slices, size)
    study = make_study("phantom", volume, mask.astype(np.int32), "axial")
    seconds = []
    for drawn in drawings:
        task = draw(study, study.mask(1), "organ", drawn)
        began = time.perf_counter()
        run_method("growcut", task, None, None)
        seconds.append(time.perf_counter() - began)
    return seconds


def _only(mask: np.ndarray, slices: list[int]) -> np.ndarray:
    drawn = np.zeros_like(mask)
    drawn[slices] = mask[slices]
    return drawn


def _in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
