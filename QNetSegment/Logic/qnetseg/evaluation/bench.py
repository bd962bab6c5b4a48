"""Speed and memory as ratios within one run, never as timed tests."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..model import QNet, QNetConfig, Refinement, load_model
from ..provenance import peak_gib
from ..segment import SegmentOptions, segment_volume
from ..segment.device import choose_device
from ..volume import support_from_mask
from .metrics import dice
from .phantom import body_phantom, largest_slice
from .results import describe_run, write_json


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


def _in_fresh_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
