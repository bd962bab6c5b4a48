"""The parts that find a structure in another patient's volume."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from qnetseg.errors import Cancelled, InputError
from qnetseg.model import Networks, QNetConfig
from qnetseg.segment import Query, SegmentOptions, across, segment_volume, with_patient
from qnetseg.segment.alignment import Overlay
from qnetseg.segment.best_slice import outlined, slice_confidence
from qnetseg.segment.correspondence import (
    CLEAREST,
    DISTANCE,
    FARTHEST,
    INTENSITY,
    MOST_DRAWN,
    SOFTNESS,
    correspond,
    displacement,
)
from qnetseg.segment.descriptors import Descriptors
from qnetseg.segment.images import model_grid
from qnetseg.segment.inference import Runner
from qnetseg.segment.job import Job
from qnetseg.segment.overlap import dice
from qnetseg.segment.presence import Verdict
from qnetseg.segment.propagator import Propagator
from qnetseg.segment.query import MOST_SLICES
from qnetseg.volume import SupportSet, support_from_mask
from qnetseg_lab.evaluation.body_phantom import body_phantom
from support.walker_network import simple_networks, walker_model

EXACT = SegmentOptions(device="cpu", precision="fp32", batch_size=4)


def random_descriptors(count, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(count, 6, size, size, generator=generator), dim=1)
    return Descriptors(features, 0.3 * torch.randn(count, 9, size, size, generator=generator))


def test_every_place_is_compared_with_every_drawn_one():
    query, support = random_descriptors(2), random_descriptors(2, seed=1)
    masks = torch.zeros(2, 8, 8)
    masks[0, 2:5, 2:5] = masks[1, 4:7, 3:6] = 1
    moved = displacement(query.features, support.features)
    best = {0.0: -np.inf, 1.0: -np.inf}
    for drawn in range(2):
        for row in range(8):
            for column in range(8):
                cosine = query.features[1, :, 6, 3] @ support.features[drawn, :, row, column]
                apart = query.intensities[1, :, 6, 3] - support.intensities[drawn, :, row, column]
                far = (6 - row - moved[0]) ** 2 + (3 - column - moved[1]) ** 2
                alike = cosine - INTENSITY * apart.square().sum() - min(FARTHEST, DISTANCE * far)
                label = float(masks[drawn, row, column])
                best[label] = max(best[label], float(alike))
    found = correspond(query, support, masks)
    assert float(found.odds[1, 6, 3]) == pytest.approx((best[1.0] - best[0.0]) / SOFTNESS, rel=1e-3, abs=1e-3)
    cosines = torch.einsum("dhw,ndij->nhwij", query.features[1], support.features).amax(dim=(1, 2))
    inside = [float(cosines[n][masks[n] > 0].mean()) for n in range(2)]
    assert float(found.found[1]) == pytest.approx(max(inside), abs=1e-4)


def test_the_most_confident_slice_is_outlined_where_its_area_is_most_like_the_drawing_s():
    rows, columns = np.indices((64, 64)) - 32
    # Even odds at 10 pixels from the middle.
    probability = (1 / (1 + np.exp(np.hypot(rows, columns) - 10))).astype(np.float32)
    probability[2:12, 2:12] = 0.3  # another thing that a lower threshold would take in
    mask = probability > 0.5
    likely, larger = outlined(probability, mask, np.pi * 12**2)
    assert larger.sum() == pytest.approx(np.pi * 12**2, rel=0.1) and not larger[:12, :12].any()
    assert np.array_equal(larger & (likely > 0.5), larger)
    assert slice_confidence(likely, larger, np.pi * 12**2) > slice_confidence(
        probability, mask, np.pi * 12**2
    )
    assert outlined(probability, mask, np.pi * 9.2**2)[1].sum() < mask.sum()
    assert slice_confidence(probability, np.zeros_like(mask), 10.0) == 0


def test_a_moved_body_is_noticed():
    support = random_descriptors(1, size=32).features
    support = F.normalize(F.avg_pool2d(support, 5, 1, 2), dim=1)
    moved = torch.roll(support, (6, -4), dims=(2, 3))
    assert displacement(moved, support) == (6, -4)


def test_a_drawing_that_fills_its_slice_has_no_surroundings():
    found = correspond(random_descriptors(1), random_descriptors(1, seed=1), torch.ones(1, 8, 8))
    assert (found.odds == CLEAREST).all() and torch.isfinite(found.found).all()


def test_of_very_many_drawn_slices_the_largest_are_compared_with():
    query, support = random_descriptors(1), random_descriptors(MOST_DRAWN + 1, seed=1)
    masks = torch.zeros(MOST_DRAWN + 1, 8, 8)
    masks[:, 2:5, 2:5] = 1
    masks[3, 2:5, 3:5] = 0  # the smallest
    others = [n for n in range(MOST_DRAWN + 1) if n != 3]
    fewer = Descriptors(support.features[others], support.intensities[others])
    moved = displacement(query.features, support.features)
    assert moved == displacement(query.features, fewer.features)
    assert torch.equal(correspond(query, support, masks).odds, correspond(query, fewer, masks[others]).odds)


def test_comparing_can_be_cancelled():
    def check():
        raise Cancelled("The segmentation was cancelled.")

    with pytest.raises(Cancelled):
        correspond(random_descriptors(1), random_descriptors(1), torch.ones(1, 8, 8), check)


@pytest.fixture(scope="module")
def patients():
    volume, truth = body_phantom((12, 64, 60), (8.0, 4.0, 4.0))
    mask = np.zeros_like(truth)
    mask[6] = truth[6]
    support = support_from_mask(volume, mask, plane="axial")
    return (support, *body_phantom((10, 70, 64), (9.0, 4.0, 4.0), seed=5))


def test_another_structure_of_another_patient_needs_no_encoder_for_its_volume(patients, monkeypatch):
    support, other, _ = patients
    networks, query = simple_networks(), Query.of(other)
    first = segment_volume(support, query, networks, EXACT)
    encode, seen = Runner.encode, []
    monkeypatch.setattr(
        Runner, "encode", lambda self, images: seen.append(len(images)) or encode(self, images)
    )
    again = segment_volume(support, query, networks, EXACT)
    assert seen == [1]  # the drawn slice itself
    assert np.array_equal(again.confidence, first.confidence)


def test_of_thin_slices_planes_five_millimetres_apart_are_searched(patients, monkeypatch):
    support, _, _ = patients
    thin, truth = body_phantom((92, 70, 64), (1.0, 4.0, 4.0), seed=5)
    encode, seen = Runner.encode, []
    monkeypatch.setattr(
        Runner, "encode", lambda self, images: seen.append(len(images)) or encode(self, images)
    )
    result = segment_volume(support, thin, simple_networks(), EXACT)
    assert sum(seen) == 1 + 46  # the drawn slice, and every second one, for at least 32
    assert dice(result.mask > 0, truth > 0) > 0.8
    assert len(result.report.slices) == 92


@pytest.mark.parametrize("slices", [10, 46])
def test_a_body_that_is_twenty_times_as_small_is_found_as_well(slices):
    def small(*shape, **seed):
        volume, truth = body_phantom(shape, (0.05 * 90 / shape[0], 0.2, 0.2), **seed)
        return volume, truth

    volume, truth = small(12, 64, 60)
    mask = np.zeros_like(truth)
    mask[6] = truth[6]
    support = support_from_mask(volume, mask, plane="axial")
    other, expected = small(slices, 70, 64, seed=5)
    result = segment_volume(support, other, simple_networks(), EXACT)
    assert dice(result.mask > 0, expected > 0) > 0.8


def test_features_of_very_many_slices_are_not_kept(patients):
    query = Query.of(patients[1])
    assert query.features((1,), MOST_SLICES + 1) is None
    assert query.features((1,), MOST_SLICES) == []


def test_a_volume_without_the_structure_is_left_empty(patients):
    support, other, truth = patients
    image = np.where(truth > 0, 300, other.array).astype(np.float32)  # of the body around it
    without = replace(other, array=image)
    found = segment_volume(support, without, simple_networks(), EXACT)
    assert not found.mask.any()
    assert any("not found" in warning for warning in found.report.warnings)


@pytest.mark.parametrize(("outcome", "said"), [("doubtful", "It is doubtful"), ("not here", "not found: ")])
def test_a_verdict_against_the_structure_is_obeyed_and_explained(patients, monkeypatch, outcome, said):
    support, other, _ = patients
    before = segment_volume(support, other, simple_networks(), EXACT)
    assert (before.report.outcome, before.report.warnings) == ("found", ())
    against = Verdict(0.25, outcome, "it is blue")
    monkeypatch.setattr("qnetseg.segment.engine.verdict", lambda signs: against)
    found = segment_volume(support, other, simple_networks(), EXACT)
    assert found.report.outcome == outcome and found.report.presence == 0.25
    assert any(said in warning and "it is blue" in warning for warning in found.report.warnings)
    assert found.mask.any() == (outcome == "doubtful")


@pytest.mark.parametrize("blind", [True, False])
def test_what_only_the_place_says_is_a_hint_that_nothing_agrees_with(patients, monkeypatch, blind):
    support, other, truth = patients
    drawn_on = Query.of(body_phantom((12, 64, 60), (8.0, 4.0, 4.0))[0])
    whole = with_patient(support, drawn_on, simple_networks(), EXACT)
    if blind:
        monkeypatch.setattr(across._Search, "seeds", lambda self, seen: {})
    monkeypatch.setattr("qnetseg.segment.engine.verdict", lambda signs: Verdict(0.9, "found", ""))
    found = segment_volume(whole, other, simple_networks(), EXACT)
    assert dice(found.mask > 0, truth > 0) > 0.5
    agreement = found.report.signs["agreement"]
    assert agreement == 0.0 if blind else agreement > 0.5


def test_examples_that_find_nothing_do_not_judge(patients, monkeypatch):
    support, other, _ = patients
    networks, ways = simple_networks(), across._Search.ways
    further = replace(support, name="further")
    alone = segment_volume(support, other, networks, EXACT)
    monkeypatch.setattr(
        across._Search,
        "ways",
        lambda self, *seen: [] if self.support.name == "further" else ways(self, *seen),
    )
    judged = []
    monkeypatch.setattr(across, "clearest", lambda signs: judged.append(signs) or signs[0])
    together = segment_volume(support, other, networks, EXACT, further=[further])
    assert len(judged[0]) == 1 and np.array_equal(together.mask, alone.mask)


def test_the_whole_patient_is_encoded_and_laid_over_once_for_all_structures(patients, monkeypatch):
    support, other, _ = patients
    drawn_on, query = Query.of(body_phantom((12, 64, 60), (8.0, 4.0, 4.0))[0]), Query.of(other)
    networks = simple_networks()
    first = segment_volume(support, query, networks, EXACT, drawn_on=drawn_on)
    encode, seen = Runner.encode, []
    monkeypatch.setattr(
        Runner, "encode", lambda self, images: seen.append(len(images)) or encode(self, images)
    )
    monkeypatch.setattr(Runner, "finest", lambda *_: pytest.fail("encoded again"))
    monkeypatch.setattr(Overlay, "of", lambda *_: pytest.fail("laid over again"))
    again = segment_volume(support, query, networks, EXACT, drawn_on=drawn_on)
    assert seen == [1]  # the drawn slice itself
    assert np.array_equal(again.confidence, first.confidence)


def test_the_progress_never_falls_and_ends_with_the_work(patients):
    support, other, _ = patients
    drawn_on = Query.of(body_phantom((12, 64, 60), (8.0, 4.0, 4.0))[0])
    told = []
    job = Job(lambda *news: told.append(news))
    further = replace(support, name="further")
    segment_volume(support, other, simple_networks(), EXACT, job=job, drawn_on=drawn_on, further=[further])
    shares = [done / total for done, total, _ in told]
    assert shares == sorted(shares) and 0.9 < shares[-1] <= 1
    assert {total for _, total, _ in told} == {10} and {stage for *_, stage in told} == {"slices"}
    assert len(set(shares)) > 7


def test_further_examples_of_other_patients_and_planes_are_heard(patients):
    support, other, truth = patients
    volume, mask = body_phantom((12, 60, 64), (8.0, 4.0, 4.0), seed=9)
    drawn = np.zeros_like(mask)
    middle = int(mask.sum(axis=(0, 2)).argmax())
    drawn[:, middle] = mask[:, middle]
    networks = simple_networks()
    further = support_from_mask(volume, drawn, plane="coronal")
    further = with_patient(further, Query.of(volume), networks, EXACT)
    found = segment_volume(support, other, networks, EXACT, further=[further]).mask
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.7


@pytest.mark.parametrize("accepted", [False, True])
def test_a_saved_drawing_with_its_patient_finds_the_same_as_the_volume_itself(patients, tmp_path, accepted):
    support, other, _ = patients
    volume, whole = body_phantom((12, 64, 60), (8.0, 4.0, 4.0))
    drawn_on, query, result = Query.of(volume), Query.of(other), whole > 0 if accepted else None
    networks = simple_networks()
    live = segment_volume(support, query, networks, EXACT, drawn_on=drawn_on, result=result)
    with_patient(support, drawn_on, networks, EXACT, result=result).save(tmp_path / "s.npz")
    saved = segment_volume(SupportSet.load(tmp_path / "s.npz"), query, networks, EXACT)
    assert live.report.signs["place"] is not None
    assert np.array_equal(saved.confidence, live.confidence)


def test_a_drawing_made_on_another_volume_than_the_one_given_is_refused(patients):
    support, other, _ = patients
    with pytest.raises(InputError, match="was not drawn on the volume"):
        segment_volume(support, other, simple_networks(), EXACT, drawn_on=other)


@pytest.fixture(scope="module")
def corrected():
    """A patient whose axes are flipped: a drawn slice, a marked one, and a result that differs from both."""
    volume, truth = body_phantom((12, 64, 60), (8.0, 4.0, 4.0))
    turned = replace(volume, array=volume.array[::-1, :, ::-1].copy(), ijk_to_ras=volume.ijk_to_ras.copy())
    turned.ijk_to_ras[:3, 3] = (volume.ijk_to_ras @ [59, 0, 11, 1])[:3]
    turned.ijk_to_ras[:3, [0, 2]] *= -1
    truth = truth[::-1, :, ::-1]
    drawn, result = np.zeros_like(truth), np.roll(truth, 3, axis=1)
    drawn[5] = truth[5]
    result[8] = 0  # the user has taken it away there
    support = support_from_mask(turned, drawn, plane="axial", not_here=(8,))  # 3 of the array
    return support, Query.of(turned), drawn > 0, result > 0


def test_an_accepted_result_goes_with_the_drawing_and_what_is_drawn_goes_before_it(corrected):
    support, volume, drawn, result = corrected
    patient = with_patient(support, volume, Networks(), result=result).patient  # no network is needed
    expected = result.copy()
    expected[5], expected[3] = drawn[5], False
    stack = volume.stack(support)
    planes = model_grid(support, stack, QNetConfig()).to_model(stack.along(expected).astype(np.float32))
    assert expected.any(axis=(1, 2)).sum() > 4 and result[3].any()
    assert np.array_equal(patient.structure, (255 * planes).round().astype(np.uint8))
    assert patient.volume_ml == pytest.approx(expected.sum() * 8 * 4 * 4 / 1000)
    anew = with_patient(support, volume, simple_networks(), EXACT).patient
    assert not np.array_equal(anew.structure, patient.structure) and anew.image is patient.image


def test_a_result_finds_its_place_in_another_patient(patients, tmp_path):
    support, other, truth = patients
    volume, whole = body_phantom((12, 64, 60), (8.0, 4.0, 4.0))
    with_patient(support, Query.of(volume), simple_networks(), EXACT, result=whole > 0).save(
        tmp_path / "s.npz"
    )
    found = segment_volume(SupportSet.load(tmp_path / "s.npz"), other, simple_networks(), EXACT)
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > 0.7


@pytest.mark.parametrize(
    ("change", "problem"),
    [(lambda result: result[1:], "11 x 64 x 60 voxels"), (lambda result: result & False, "is empty")],
)
def test_a_result_that_cannot_be_the_volumes_is_refused(corrected, change, problem):
    support, volume, _, result = corrected
    with pytest.raises(InputError, match=problem) as caught:
        with_patient(support, volume, simple_networks(), EXACT, result=change(result))
    assert caught.value.advice


def test_what_was_drawn_on_the_very_volume_goes_before_other_patients(patients):
    support, other, truth = patients
    mask = np.zeros_like(truth)
    mask[5] = truth[5]
    own, networks = support_from_mask(other, mask, plane="axial"), simple_networks()
    alone = segment_volume(own, other, networks, EXACT)
    together = segment_volume(support, other, networks, EXACT, further=[own])
    assert np.array_equal(together.confidence, alone.confidence)


def test_of_a_patient_that_is_drawn_on_many_slices_the_largest_are_compared_with(patients):
    _, other, truth = patients
    volume, whole = body_phantom((12, 64, 60), (8.0, 4.0, 4.0))
    networks = simple_networks()
    every = with_patient(support_from_mask(volume, whole, plane="axial"), Query.of(volume), networks, EXACT)
    assert len(every.filled) > 3
    largest = sorted(every.filled, key=lambda part: int(part.mask.sum()), reverse=True)[:3]
    found = segment_volume(every, other, networks, EXACT)
    same = segment_volume(replace(every, slices=tuple(largest)), other, networks, EXACT)
    assert np.array_equal(found.mask, same.mask)
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > 0.7


@pytest.fixture(scope="module")
def search():
    """A search in a bright tube, and the tube."""
    rows, columns = np.indices((64, 64))
    truth = np.repeat((np.hypot(rows - 32, columns - 32) <= 9)[None], 12, 0)
    noise = np.random.default_rng(0).normal(0, 0.05, truth.shape)
    stack = SimpleNamespace(slices=(truth + noise).astype(np.float32), spacing=(2.0, 1.0, 1.0))
    propagator = Propagator(walker_model().network, EXACT)
    own = across._Search.__new__(across._Search)
    own.stack, own.searcher = stack, SimpleNamespace(propagator=propagator)
    return own, truth


@pytest.mark.parametrize("least", [1.0, 0.8, 0.55])
def test_a_hint_serves_however_weak_it_is(search, least):
    own, truth = search
    found, _ = own.hinted(np.float32(least) * truth, Job())
    assert dice(found > 0.5, truth) > 0.9


@pytest.mark.parametrize("aside", [0, 4, 17, 25])
def test_a_place_that_lies_elsewhere_does_not_spoil_what_was_found(search, aside):
    own, truth = search
    place = ndimage.gaussian_filter(np.roll(truth, aside, 2).astype(np.float32), (0, 1, 1))
    found, _ = own.hinted(across._agreed([across._Way(truth, 0.7)], [place]), Job())
    assert dice(found > 0.5, truth) > 0.8


def test_where_nothing_looks_like_the_drawing_the_place_alone_is_the_hint(search):
    own, truth = search
    found, _ = own.hinted(across._agreed([], [0.7 * truth.astype(np.float32)]), Job())
    assert dice(found > 0.5, truth) > 0.9


def test_ways_that_agree_on_nothing_find_nothing(search):
    own, truth = search
    ways = [across._Way(np.roll(truth, by, 2), 0.5) for by in (-20, 0, 20)]
    found, trust = own.hinted(across._agreed(ways, []), Job())
    assert not (found > 0.5).any() and trust is None
