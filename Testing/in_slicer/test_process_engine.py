"""The real engine over QProcess: what Slicer gets is what the command line writes, voxel by voxel."""

from __future__ import annotations

import numpy as np

from qnetseg.cli import main
from qnetseg.volume import (
    LabelMap,
    SegmentInfo,
    Volume,
    read_labelmap,
    read_volume,
    support_from_mask,
    write_labelmap,
    write_volume,
)
from qnetseg.worker.source import Source
from support.qt_worker_bed import Worker

# isort: split
from QNetSegmentLib.runs.run import Run

SHAPE = (2, 60, 50)  # two slices: the encoder is slow on a CPU
MATRIX = np.array([[-2.0, 0, 0, 40], [0, -2.0, 0, 50], [0, 0, 5.0, -10], [0, 0, 0, 1]])


def two_discs():
    """(K, J, I) grey values of two touching discs in noise, and the labels 1 and 2 of both on one slice."""
    _, j, i = np.indices(SHAPE)
    left, right = np.hypot(j - 30, i - 17) < 10, np.hypot(j - 30, i - 35) < 9
    array = np.random.default_rng(0).normal(100, 10, SHAPE) + 300 * left + 180 * right
    drawn = np.zeros(SHAPE, np.int32)
    drawn[1] = np.where(left, 1, np.where(right, 2, 0))[1]
    return array.astype(np.float32), drawn


def test_a_run_finds_what_the_command_line_writes(tmp_path):
    scan, mask, output = (tmp_path / name for name in ("scan.nrrd", "drawing.seg.nrrd", "out.seg.nrrd"))
    array, drawn = two_discs()
    write_volume(scan, Volume.checked(array, MATRIX, "scan"))
    segments = (SegmentInfo(1, "left", (1.0, 0.0, 0.0)), SegmentInfo(2, "right", (0.0, 1.0, 0.0)))
    write_labelmap(mask, LabelMap(drawn, MATRIX, segments))
    command = ["segment", str(scan), "--mask", str(mask), "--output", str(output), "--device", "cpu"]
    assert main([*command, "--precision", "fp32"]) == 0
    written = read_labelmap(output)

    query = read_volume(scan)
    supports = [support_from_mask(query, drawn == info.label, name=info.name) for info in segments]
    worker = Worker()
    run = Run(worker, supports, Source.of(scan), options={"precision": "fp32"}, device="cpu")
    run.start()
    results = run.wait()
    worker.shutdown()
    for info, found in zip(segments, results, strict=True):
        mask = found.mask.placed(query.shape)
        assert mask.any() and np.array_equal(mask, written.array == info.label)
        assert found.report.device == "cpu"
