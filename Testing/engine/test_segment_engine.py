"""Behaviour of `segment_volume` with networks that need no training."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from qnetseg.boxes import Box
from qnetseg.errors import Cancelled, InputError, MaskError, WeightsError
from qnetseg.model import Networks, Refinement
from qnetseg.segment import Job, Report, SegmentOptions, segment_volume
from qnetseg.segment.inference import Runner
from qnetseg.volume import Volume, support_from_mask
from qnetseg_lab.evaluation.body_phantom import body_phantom, largest_slice
from qnetseg_lab.evaluation.metrics import dice
from support.walker_network import simple_networks, walker_model

SHAPE, SPACING = (12, 64, 60), (8.0, 4.0, 4.0)
EXACT = SegmentOptions(device="cpu", precision="fp32", batch_size=4)
SLICES = SegmentOptions(device="cpu", precision="fp32", batch_size=4, method="q-net")


@pytest.fixture(scope="module")
def networks():
    return simple_networks()


@pytest.fixture(scope="module")
def phantom():
    return body_phantom(SHAPE, SPACING)


def draw(volume: Volume, mask: np.ndarray, axis: int = 0, **kwargs):
    index = int(mask.sum(axis=tuple({0, 1, 2} - {axis})).argmax())
    drawn = np.zeros_like(mask)
    drawn[(slice(None),) * axis + (index,)] = mask.take(index, axis)
    return support_from_mask(volume, drawn, **kwargs), drawn


def test_one_drawn_slice_gives_the_organ_and_nothing_else(networks, phantom):
    volume, truth = phantom
    support, drawn = draw(volume, truth, name="organ")
    result = segment_volume(support, volume, networks, EXACT)
    assert result.mask.shape == result.confidence.shape == SHAPE
    assert result.mask.dtype == np.uint8 and result.confidence.dtype == np.float32
    assert dice(result.mask, truth) > 0.8
    empty = ~truth.any(axis=(1, 2))
    assert result.mask[empty].sum() < 0.02 * truth.sum()
    index = int(drawn.any(axis=(1, 2)).argmax())
    assert np.array_equal(result.mask[index], drawn[index])
    assert result.report.structure == "organ" and result.report.plane == "axial"
    assert result.report.volume_ml == pytest.approx(result.mask.sum() * np.prod(SPACING) / 1000)
    by_index = {entry.index: entry for entry in result.report.slices}
    assert by_index[index].drawn and by_index[index].score > 0.99
    assert [e.occupied for e in result.report.slices] == result.mask.any(axis=(1, 2)).tolist()
    assert Report.from_json(result.report.to_json()) == result.report


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_plane_can_be_drawn_on(networks, phantom, axis):
    volume, truth = phantom
    support, _ = draw(volume, truth, axis, plane=["axial", "coronal", "sagittal"][axis])
    assert dice(segment_volume(support, volume, networks, EXACT).mask, truth) > 0.7


def test_all_48_orientations_give_the_same_mask_in_space(networks, phantom):
    volume, truth = phantom
    _, drawn = draw(volume, truth)
    expected = segment_volume(draw(volume, truth)[0], volume, networks, EXACT).mask
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product([False, True], repeat=3):
            turned_volume, turned_drawn = (
                reoriented(volume, volume.array, axes, flips),
                turn(drawn, axes, flips),
            )
            support = support_from_mask(turned_volume, turned_drawn, plane="axial")
            mask = segment_volume(support, turned_volume, networks, EXACT).mask
            assert np.array_equal(mask, turn(expected, axes, flips)), (axes, flips)


def turn(array, axes, flips):
    return array.transpose(axes)[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]


def reoriented(volume, array, axes, flips):
    """The same volume in space with its array axes permuted and flipped."""
    turned = np.ascontiguousarray(turn(array, axes, flips))
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        to_old[2 - old, 2 - new] = -1 if flip else 1
        to_old[2 - old, 3] = array.shape[old] - 1 if flip else 0
    return Volume(turned, volume.ijk_to_ras @ to_old)


def test_another_patient_is_segmented_from_the_most_similar_drawn_slice(networks, phantom):
    volume, truth = phantom
    other, other_truth = body_phantom((9, 70, 64), (10.0, 4.0, 4.0), seed=5)
    support, _ = draw(volume, truth)
    result = segment_volume(support, other, networks, EXACT)
    assert dice(result.mask, other_truth) > 0.7
    assert not any(entry.drawn for entry in result.report.slices)


def test_several_drawn_slices_are_each_used_where_they_are_nearest(networks, phantom):
    volume, truth = phantom
    drawn = np.zeros_like(truth)
    drawn[[4, 8]] = truth[[4, 8]]
    support = support_from_mask(volume, drawn, plane="axial")
    result = segment_volume(support, volume, networks, EXACT)
    used = [entry.support_index for entry in result.report.slices]
    assert used == [4] * 7 + [8] * 5
    assert np.array_equal(result.mask[[4, 8]], truth[[4, 8]])


def test_a_structure_that_is_absent_leaves_the_volume_empty_and_says_so(networks, phantom):
    volume, truth = phantom
    support, _ = draw(volume, truth)
    rng = np.random.default_rng(0)
    dark = Volume(np.where(rng.random(SHAPE) < 0.5, 0, 1).astype(np.float32), volume.ijk_to_ras)
    result = segment_volume(support, dark, networks, EXACT)
    assert not result.mask.any()
    assert any("not found" in warning for warning in result.report.warnings)


def test_progress_counts_slices_and_cancel_stops_between_batches(networks, phantom):
    volume, truth = phantom
    support, _ = draw(volume, truth)
    seen = []
    options = SegmentOptions(device="cpu", batch_size=5, method="q-net")
    segment_volume(support, volume, networks, options, Job(lambda *event: seen.append(event)))
    assert seen == [(5, 12, "slices"), (10, 12, "slices"), (12, 12, "slices")]
    seen.clear()
    segment_volume(support, volume, networks, EXACT, Job(lambda *event: seen.append(event)))
    assert seen[-1] == (12, 12, "slices")
    for chosen, most in ((options, 1), (EXACT, 0)):
        seen.clear()
        with pytest.raises(Cancelled):
            segment_volume(
                support,
                volume,
                networks,
                chosen,
                Job(lambda *event: seen.append(event), lambda most=most: len(seen) >= most),
            )
        assert len(seen) == most


def test_out_of_memory_halves_the_batch_and_gives_the_same_mask(networks, phantom, monkeypatch):
    volume, truth = phantom
    support, _ = draw(volume, truth)
    expected = segment_volume(support, volume, networks, SLICES).mask
    encode, sizes = Runner.encode, []

    def small_memory(self, images):
        sizes.append(len(images))
        if len(images) > 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
        return encode(self, images)

    monkeypatch.setattr(Runner, "encode", small_memory)
    result = segment_volume(support, volume, networks, SLICES)
    assert np.array_equal(result.mask, expected)
    assert sizes[:5] == [1, 4, 2, 1, 1]  # the drawn slice first
    assert any("1 at a time" in warning for warning in result.report.warnings)


def test_out_of_memory_behind_the_encoder_is_handled_as_well(networks, phantom, monkeypatch):
    volume, truth = phantom
    support, _ = draw(volume, truth)
    expected = segment_volume(support, volume, networks, SLICES).mask
    fuse = type(networks.qnet.network).fuse

    def small_memory(self, scores, *args, **kwargs):
        if len(scores.fine) > 1:
            raise RuntimeError("CUDA out of memory")
        return fuse(self, scores, *args, **kwargs)

    monkeypatch.setattr(type(networks.qnet.network), "fuse", small_memory)
    assert np.array_equal(segment_volume(support, volume, networks, SLICES).mask, expected)


def test_a_gpu_too_small_for_the_network_gives_way_to_the_cpu(networks, phantom, monkeypatch):
    volume, truth = phantom
    support, _ = draw(volume, truth)
    place = Runner._place

    def no_room(self):
        if self.device.type != "cpu":
            raise RuntimeError("CUDA out of memory")
        return place(self)

    monkeypatch.setattr(Runner, "_place", no_room)
    monkeypatch.setattr("qnetseg.segment.inference.choose_device", lambda name: (torch.device("meta"), ""))
    result = segment_volume(support, volume, networks, SLICES)
    assert result.report.device == "cpu" and any("too small" in warning for warning in result.report.warnings)


def test_when_one_slice_does_not_fit_the_cpu_takes_over_and_says_so(networks, phantom, monkeypatch):
    volume, truth = phantom
    support, _ = draw(volume, truth)
    encode = Runner.encode

    def no_gpu_memory(self, images):
        if self.device.type != "cpu":
            raise RuntimeError("CUDA out of memory")
        return encode(self, images)

    class Gpu(Runner):
        def __init__(self, network, options):
            super().__init__(network, options)
            self.device = torch.device("meta")

    monkeypatch.setattr(Runner, "encode", no_gpu_memory)
    monkeypatch.setattr("qnetseg.segment.engine.Runner", Gpu)
    result = segment_volume(support, volume, networks, SLICES)
    assert result.report.device == "cpu" and result.mask.any()
    assert any("too small" in warning for warning in result.report.warnings)


def test_other_errors_and_the_end_of_cpu_memory_are_not_swallowed(networks, phantom, monkeypatch):
    volume, truth = phantom
    support, _ = draw(volume, truth)
    monkeypatch.setattr(Runner, "encode", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        segment_volume(support, volume, networks, SLICES)
    monkeypatch.setattr(Runner, "encode", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        segment_volume(support, volume, networks, SegmentOptions(device="cpu", batch_size=1, method="q-net"))


def test_only_the_slices_asked_for_are_looked_at(networks, phantom):
    volume, truth = phantom
    support, _ = draw(volume, truth)
    options = SegmentOptions(
        device="cpu",
        method="q-net",
        slices=(5, 6, 7),
        matching="thirds",
        calibrate=False,
        clean_up=False,
    )
    result = segment_volume(support, volume, networks, options)
    assert [entry.index for entry in result.report.slices] == [5, 6, 7]
    assert result.report.threshold_offset == 0
    for wrong in ((), (3, 2), (0, 12), (-1, 2)):
        with pytest.raises(InputError, match="ascending"):
            segment_volume(support, volume, networks, replace(SLICES, slices=wrong))


def test_one_corner_pixel_can_be_the_drawing_and_is_warned_about(networks):
    volume, truth = body_phantom((4, 64, 64), (8.0, 4.0, 4.0))
    drawn = np.zeros_like(truth)
    drawn[1, 0, 0] = 1
    support = support_from_mask(volume, drawn, plane="axial")
    result = segment_volume(support, volume, networks, EXACT)
    assert any("very small" in warning for warning in result.report.warnings)


def test_a_field_larger_than_the_network_is_coarsened_and_mapped_back(networks):
    volume, truth = body_phantom((6, 100, 100), (8.0, 4.0, 4.0))
    support, _ = draw(volume, truth)
    result = segment_volume(support, volume, networks, SLICES)
    assert result.mask.shape == truth.shape and dice(result.mask, truth) > 0.7
    assert any("field of view is large" in warning for warning in result.report.warnings)


@pytest.mark.parametrize("mode", ["closed_form", "reconstruction", "released"])
def test_refinement_modes_run_through_the_engine(networks, phantom, mode):
    volume, truth = phantom
    support, _ = draw(volume, truth)
    options = SegmentOptions(device="cpu", refinement=Refinement(mode, steps=2), method="q-net")
    assert dice(segment_volume(support, volume, networks, options).mask, truth) > 0.6


def test_a_tilted_volume_of_another_patient_is_warned_about(networks, phantom):
    volume, truth = phantom
    support, _ = draw(volume, truth)
    angle = np.radians(30)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    other = Volume(volume.array, tilt @ volume.ijk_to_ras)
    warnings = segment_volume(support, other, networks, EXACT).report.warnings
    assert any("tilted" in warning for warning in warnings)


def test_the_callers_networks_and_volume_stay_as_they_are(networks, phantom):
    volume, truth = phantom
    both = (networks.qnet.network, networks.propagation.network)
    before = [{key: value.clone() for key, value in one.state_dict().items()} for one in both]
    array = volume.array.copy()
    for options in (EXACT, SLICES):
        segment_volume(draw(volume, truth)[0], volume, networks, options)
    assert np.array_equal(volume.array, array)
    for one, kept in zip(both, before, strict=True):
        assert all(torch.equal(value, kept[key]) for key, value in one.state_dict().items())


def test_q_net_is_not_read_where_it_is_not_needed(phantom):
    def never():
        raise AssertionError("Q-Net was read")

    volume, truth = phantom
    networks = Networks(propagation=walker_model(), qnet=never)
    assert segment_volume(draw(volume, truth)[0], volume, networks, EXACT).mask.any()
    with pytest.raises(WeightsError, match="none are given"):
        segment_volume(draw(volume, truth)[0], volume, Networks(), EXACT)


def test_the_structure_ends_where_the_user_says_not_here(networks, phantom):
    volume, truth = phantom
    occupied = np.flatnonzero(truth.any(axis=(1, 2)))
    index, empty = int(occupied[len(occupied) // 2]), int(occupied[-2])
    drawn = np.zeros_like(truth)
    drawn[index] = truth[index]
    support = support_from_mask(volume, drawn, plane="axial", not_here=[empty])
    assert len(support.slices) == 2 and len(support.filled) == 1
    for options in (EXACT, SLICES):
        result = segment_volume(support, volume, networks, options)
        assert result.mask[index].any() and not result.mask[empty:].any()
        assert [entry.index for entry in result.report.slices if entry.drawn] == [index, empty]


def test_nothing_is_found_where_other_segments_are(networks, phantom):
    volume, truth = phantom
    support, drawn = draw(volume, truth)
    others = (truth > 0) & (np.indices(truth.shape)[2] < 30) & ~drawn.astype(bool)
    for options in (EXACT, SLICES):
        result = segment_volume(support, volume, networks, options, background=Box.around(others))
        assert result.mask.any() and not result.mask[others].any()


def test_the_number_of_threads_changes_no_mask(networks, phantom):
    volume, truth = phantom
    before = torch.get_num_threads()
    try:
        masks = [
            segment_volume(draw(volume, truth)[0], volume, networks, replace(EXACT, threads=n)).mask
            for n in (1, 2)
        ]
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*masks)


def test_largest_slice_keeps_one_slice(phantom):
    _, truth = phantom
    assert (largest_slice(truth).any(axis=(1, 2)).sum()) == 1


def test_support_whose_drawing_vanishes_at_the_networks_resolution_keeps_its_core(networks):
    fine, fine_truth = body_phantom((4, 256, 256), (8.0, 1.0, 1.0))
    drawn = np.zeros_like(fine_truth)
    drawn[2, 100:102, 170] = 1
    support = support_from_mask(fine, drawn, plane="axial")
    assert segment_volume(support, fine, networks, EXACT).mask[2].sum() == 2


def test_empty_mask_is_refused_by_the_support(phantom):
    volume, truth = phantom
    with pytest.raises(MaskError):
        support_from_mask(volume, np.zeros_like(truth))
