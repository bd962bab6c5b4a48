"""Options, devices, matching, calibration and clean-up on their own."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from qnetseg.errors import Cancelled, DeviceError, InputError
from qnetseg.model import QNetConfig, Refinement
from qnetseg.model.encoder import Features
from qnetseg.segment import SegmentOptions, device, matching
from qnetseg.segment.calibration import OFFSETS, threshold_offset
from qnetseg.segment.confidence import expected_overlap
from qnetseg.segment.decide import connected_parts, within_reach
from qnetseg.segment.images import model_grid, support_images
from qnetseg.segment.inference import Runner
from qnetseg.segment.job import Job
from qnetseg.segment.overlap import share_voxels
from qnetseg.segment.query import Query
from qnetseg.segment.result import Found, Segmentation
from qnetseg.volume import Volume, support_from_mask
from support.intensity_model import intensity_model
from support.worker_bed import LOGIC


def test_options_survive_json_and_refuse_what_they_do_not_know():
    options = SegmentOptions(
        method="q-net", slices=(1, 2), refinement=Refinement("closed_form", steps=2), batch_size=3
    )
    assert SegmentOptions.from_dict(options.to_dict()) == options
    for wrong in (
        {"speed": 1},
        {"method": "magic"},
        {"threads": -1},
        {"threads": 99_999},
        {"slices": [1, 2]},  # only Q-Net looks at some slices alone
        {"matching": "magic"},
        {"batch_size": 0},
        {"precision": "fp8"},
        {"refinement": {"mode": "hope"}},
        {"refinement": {"colour": 1}},
        {"slices": 5},
        {"slices": ["a"]},
    ):
        with pytest.raises(InputError):
            SegmentOptions.from_dict(wrong)


def test_a_named_device_that_is_missing_is_an_error_and_auto_is_not(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.choose_device("auto") == (torch.device("cpu"), "")
    assert device.choose_device("cpu")[0].type == "cpu"
    with pytest.raises(DeviceError, match="cannot be used"):
        device.choose_device("cuda")
    with pytest.raises(DeviceError, match="no device"):
        device.choose_device("tpu")


def test_a_gpu_without_kernels_is_passed_over_with_a_warning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    def no_kernel(*_args, **_kwargs):
        raise RuntimeError("CUDA error: no kernel image is available\nmore")

    monkeypatch.setattr(torch, "ones", no_kernel)
    chosen, warning = device.choose_device("auto")
    assert chosen.type == "cpu" and "no kernel image" in warning and "\n" not in warning


def test_a_gpu_that_passes_the_smoke_test_is_chosen(monkeypatch):
    monkeypatch.setattr(device, "_problem", lambda name: "" if name == "mps" else device._MISSING)
    assert device.choose_device("auto")[0].type == "mps"
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *size, device: ones(*size) * float("nan"))
    assert "no number" in device._problem("cuda")


def test_bf16_is_used_where_the_hardware_computes_in_it(monkeypatch):
    assert device.computes_bf16(torch.device("mps")) is False
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    assert device.computes_bf16(torch.device("cuda"))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    runner = Runner(intensity_model().network, SegmentOptions(device="cpu"))
    assert runner.precision == "bf16"
    assert next(runner.network.encoder.parameters()).dtype == torch.bfloat16


def test_nearest_and_thirds_match_slices_to_drawn_ones():
    assert matching.nearest(np.arange(6), [1, 4]).tolist() == [0, 0, 0, 1, 1, 1]
    assert matching.thirds(10, 3).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert matching.thirds(2, 3).tolist() == [1, 2]
    query = torch.tensor([[1.0, 0.1], [0.1, 1.0]])
    assert matching.most_similar(query, torch.tensor([[0.0, 2.0], [3.0, 0.0]])).tolist() == [1, 0]


def test_calibration_moves_the_threshold_to_where_the_drawn_slice_is_best():
    network = intensity_model().network
    image = torch.zeros(1, 64, 64)
    image[:, 16:48, 16:48] = 2.0
    mask = (image > 1).float()[:, None]
    features = network.encode(image)
    with torch.no_grad():
        network.threshold.out.bias.fill_(-25.0)  # nothing is similar enough
        own = network.scores(network.condition(features, mask), features)
        offset = threshold_offset(network, own, mask, None)
        assert 5 < offset <= max(OFFSETS)
        found = network.predict(network.condition(features, mask), Features(*features), (64, 64))
        assert not (found > 0.5).any()
        scores = network.scores(network.condition(features, mask), features)
        assert (network.fuse(scores, (64, 64), offset) > 0.5).float().mul(mask).sum() > 0.8 * mask.sum()


def test_components_that_touch_the_drawing_are_kept_and_others_dropped():
    probability = np.zeros((3, 20, 20), np.float32)
    probability[:, 2:6, 2:6] = 0.9
    probability[:, 12:18, 12:18] = 0.9
    drawn = np.zeros(probability.shape, bool)
    drawn[1, 2:6, 2:6] = True
    kept = connected_parts(probability, drawn)
    assert kept[:, 2:6, 2:6].all() and not kept[:, 12:, 12:].any()
    alone = connected_parts(probability, None)
    assert alone.sum() == (probability > 0.5).sum()
    probability[:, 2:6, 2:6] = 0.0
    probability[0, 0, 0] = 0.9
    assert not connected_parts(probability, None)[0, 0, 0]
    assert not connected_parts(np.zeros((2, 4, 4), np.float32), None).any()


def test_a_blank_part_of_a_drawn_slice_connects_nothing():
    probability = np.zeros((3, 20, 20), np.float32)
    probability[1, 4, 4:16] = 0.9  # runs from the drawing to the other object
    probability[2, 4:8, 13:16] = 0.9
    drawn = np.zeros(probability.shape, bool)
    drawn[1, 3:6, 3:6] = True
    assert np.array_equal(connected_parts(probability, drawn), drawn)


def test_expected_dice_is_one_for_certain_slices_and_falls_with_doubt():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    assert expected_overlap(mask.astype(float), mask, 16) == 1
    assert expected_overlap(np.where(mask, 0.6, 0.3), mask, 16) < 0.75
    empty = np.zeros_like(mask)
    assert expected_overlap(np.zeros((8, 8)), empty, 16) == 1
    assert expected_overlap(np.full((8, 8), 0.4), empty, 16) < 0.5


def test_what_lies_beyond_a_doubtful_slice_is_dropped():
    probability = np.zeros((6, 8, 8), np.float32)
    probability[:, 2:6, 2:6] = 0.95
    probability[4] = 0.45  # a slice that could be anything
    probability[4, 2:6, 2:6] = 0.55
    mask = probability > 0.5
    drawn = np.zeros(mask.shape, bool)
    drawn[1, 2:6, 2:6] = True
    assert within_reach(mask, probability, drawn).any(axis=(1, 2)).tolist() == [True] * 4 + [False] * 2
    drawn[5] = drawn[1]
    assert within_reach(mask, probability, drawn).any(axis=(1, 2)).tolist() == [True] * 4 + [False, True]
    probability[2, 1:7, 1:7] = 0.95
    found = within_reach(probability > 0.5, probability, None)
    assert found.any(axis=(1, 2)).tolist() == [True] * 4 + [False] * 2
    assert not within_reach(mask & False, probability, None).any()


def claims(mask, confidence):
    values = np.array([[confidence]], np.float32)
    return Found.of(Segmentation(np.array([[mask]], np.uint8), values, None))


def test_a_voxel_goes_to_the_most_confident_structure_and_to_the_first_of_equals():
    masks = share_voxels(
        [
            claims([1, 1, 0, 1, 1], [0.9, 0.6, 0.9, 0.7, 0.0]),
            claims([0, 1, 0, 1, 1], [0.9, 0.8, 0.9, 0.7, 0.0]),
            claims([0, 1, 1, 1, 1], [0.0, 0.7, 0.6, 0.6, 0.1]),
        ]
    )
    placed = [mask.placed((1, 1, 5)).ravel().tolist() for mask in masks]
    assert placed == [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1]]
    assert share_voxels([]) == []


def test_sharing_voxels_needs_no_torch():
    code = "import sys, qnetseg.segment.overlap; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(LOGIC)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


@pytest.mark.parametrize(
    ("pixel", "across"), [(4.0, 204.8), (3.0, 153.6), (1.875, 96), (0.3, 96), (0.02, 96), (2e-5, 96)]
)
def test_q_net_sees_small_fields_of_view_enlarged(pixel, across):
    """Slices of 64 x 48 pixels; from a mouse's brain to a cell the network's image is the same."""
    matrix = np.diag([pixel, pixel, 3 * pixel, 1.0])
    array = np.random.default_rng(0).random((5, 64, 48)).astype(np.float32)
    mask = np.zeros(array.shape, np.uint8)
    mask[2, 20:40, 10:30] = 1
    volume = Volume.checked(array, matrix)
    support = support_from_mask(volume, mask)
    grid = model_grid(support, Query.of(volume).stack(support), QNetConfig())
    assert 64 * pixel / grid.spacing == pytest.approx(across)
    _, masks = support_images(support, grid)
    assert masks.sum() == pytest.approx(400 * (pixel / grid.spacing) ** 2, rel=0.1)


def test_parts_of_a_job_tell_shares_of_the_whole_that_never_fall():
    told = []
    job = Job(lambda *news: told.append(news)).part(0, 1, 36)
    first, second = job.part(0, 0.5), job.part(0.5, 1)
    for part, done in ((first, 2), (first, 1), (first, 4), (second, 1), (second, 9)):
        part.tell(done, 4, "slices")
    assert told == [(done, 36, "slices") for done in (9, 9, 18, 22, 36)]
    with pytest.raises(Cancelled):
        Job(cancel=lambda: True).part(0, 1).check()
    Job().part(0, 1).tell(1, 2, "slices")  # nobody listens
