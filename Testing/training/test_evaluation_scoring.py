"""Scoring a fold: the authors' evaluation with answers by hand, features computed once, runs that go on."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from qnetseg.errors import DatasetError, InputError, OutputError
from qnetseg.model import Networks, QNetConfig, Refinement
from qnetseg.segment import segment_volume
from qnetseg.segment.matching import thirds
from qnetseg.volume import Volume, support_from_mask
from qnetseg_lab.baselines import build_method
from qnetseg_lab.data import Case, dataset
from qnetseg_lab.evaluation import features, protocol_p, results
from qnetseg_lab.evaluation.body_phantom import body_phantom
from qnetseg_lab.evaluation.features import Scorer
from qnetseg_lab.evaluation.protocol_p import Pair, ProtocolP
from qnetseg_lab.evaluation.results import RowLog
from support.evaluation_bed import SHAPE, SPACING, Handmade, write_chaos_like
from support.intensity_model import CONFIG, intensity_model

CPU = {"device": "cpu", "precision": "fp32"}


def phantom_case(number, spacing=SPACING):
    volume, organ = body_phantom(SHAPE, spacing, seed=number)
    return Case(str(number), volume.array, organ.astype(np.int32), None, spacing)


def block_case(name, occupied, count=12, label=1):
    """The organ is the same 4 x 5 block on the occupied slices."""
    labels = np.zeros((count, 16, 16), np.int32)
    labels[list(occupied), 2:6, 3:8] = label
    return Case(name, np.zeros(labels.shape, np.float32), labels, None, (7.7, 1.25, 1.25))


# --- the authors' choice of slices -------------------------------------------------------------


def test_support_slices_are_those_of_the_released_arithmetic_for_every_length():
    # Its percentages are 1/6 + n (1 - 1/3) / 2, in floating point; ours must round to the same slices.
    half, interval = 1 / 6, (1 - 1 / 3) / 2
    for length in range(1, 200):
        released = (np.array([half + interval * n for n in range(3)]) * length).astype(int)
        assert protocol_p.support_slice_indices(np.arange(length)).tolist() == released.tolist()


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1, [2]),  # cuts 0, 0, 0, 1: all of it is the last third
        (2, [1, 2]),  # 0, 0, 1, 2
        (3, [0, 1, 2]),
        (4, [0, 1, 2, 2]),  # 0, 1.33, 2.67, 4
        (5, [0, 1, 1, 2, 2]),  # 0, 1.67, 3.33, 5
        (7, [0, 0, 1, 1, 2, 2, 2]),  # 0, 2.33, 4.67, 7
        (8, [0, 0, 1, 1, 1, 2, 2, 2]),  # 0, 2.67, 5.33, 8
    ],
)
def test_thirds_of_lengths_that_three_does_not_divide(length, expected):
    assert thirds(length, 3).tolist() == expected


def test_two_support_slices_serve_three_thirds(monkeypatch):
    scorer = Scorer(intensity_model().network, [phantom_case(1), phantom_case(2)], ProtocolP(**CPU).options())
    case = phantom_case(2)
    seen = []
    shown = scorer._encoded
    monkeypatch.setattr(scorer, "_encoded", lambda c, s: seen.append(list(map(int, s))) or shown(c, s))
    drawn = protocol_p.support_slice_indices(np.array([4, 5]))
    conditioned = scorer.condition(case, 1, drawn)
    assert seen == [[4, 5, 5]] and len(conditioned[0]) == 3
    used = []

    def predict(network, support, query, size):
        used.append(support.fine[0])
        return network.predict(support, query, size)[None]

    masks = scorer.masks(conditioned, phantom_case(1), np.arange(2, 8), predict)
    assert masks.shape == (1, 6, 64, 64)
    which = [next(n for n in range(3) if torch.equal(p, conditioned.fine[n])) for p in used]
    assert which == [0, 0, 1, 1, 1, 1]  # 1 and 2 are the same drawn slice


# --- measures by hand, given the predictions ---------------------------------------------------


def pairs_of(cases, scheme="released", structures=("liver",)):
    return list(protocol_p.pairs(ProtocolP(scheme=scheme), list(structures), cases))


def test_dice_given_the_predictions_counts_the_querys_organ_slices_only():
    ranges = [range(2, 9), range(1, 12), range(3, 8)]
    cases = [block_case(str(n), occupied) for n, occupied in enumerate(ranges)]
    predicted = np.zeros((12, 16, 16), bool)
    predicted[:, 2:6, 3:8] = True  # also on slices without the organ, which do not count
    predicted[4, 2:6, 3:8] = False  # one slice is missed
    predicted[5, 2:6, 8:10] = True  # and one has 8 pixels too many
    scorer = Handmade({(case.name, 1): predicted for case in cases})
    found = {
        pair.query.name: protocol_p.measure_pair(pair, masks)
        for pair, masks in protocol_p.score_pairs(scorer, pairs_of(cases), None)
    }
    # Support is case 2, its slices 3 to 7: 1/6, 3/6, 5/6 of 5 are 0, 2, 4.
    assert scorer.conditioned == [("2", 1, [3, 5, 7])]
    for name, slices in (("0", 7), ("1", 11)):
        hits = 20 * (slices - 1)
        assert found[name]["dice"] == pytest.approx(2 * hits / (20 * slices + hits + 8))
        assert found[name]["iou"] == pytest.approx(hits / (20 * slices + 8))


def test_one_and_two_slice_organs_are_scored():
    cases = [block_case("0", [5]), block_case("1", [5, 6]), block_case("2", [4, 9])]
    perfect = {(case.name, 1): case.labels == 1 for case in cases}
    scorer = Handmade(perfect)
    rows = [
        protocol_p.measure_pair(pair, masks)
        for pair, masks in protocol_p.score_pairs(scorer, pairs_of(cases, "strict"), None)
    ]
    assert [row["dice"] for row in rows] == [1.0] * 6 and [row["hd95"] for row in rows] == [0.0] * 6
    assert [slices for _, _, slices in scorer.conditioned] == [[5, 5, 5], [5, 6, 6], [4, 9, 9]]


def test_an_organ_absent_in_the_support_or_a_query():
    cases = [block_case("0", [5]), block_case("1", []), block_case("2", [4]), block_case("3", [4])]
    keys = [(pair.support.name, pair.query.name) for pair in pairs_of(cases, "strict")]
    assert keys == [("0", "2"), ("0", "3"), ("2", "0"), ("2", "3"), ("3", "0"), ("3", "2")]
    assert [pair.query.name for pair in pairs_of(cases)] == ["0", "3"]  # case 1 is no query
    with pytest.raises(DatasetError, match="Case 1 does not hold liver"):
        pairs_of([cases[0], cases[2], cases[1]])
    with pytest.raises(DatasetError, match="fewer than two cases with liver"):
        pairs_of([cases[0], cases[1]], "strict")


# --- features are computed once ----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["none", "closed_form", "released"])
def test_masks_are_those_of_segment_volume(mode):
    support, query = phantom_case(1), phantom_case(2)
    options = ProtocolP(refinement=dataclasses.replace(Refinement.usual(mode), steps=2), **CPU).options()
    torch.manual_seed(1)
    for network in (intensity_model().network, build_method("qnet", CONFIG).eval()):
        if mode != "none" and type(network).__name__ == "QNet":
            continue  # a real encoder once is enough
        model = dataclasses.replace(intensity_model(), network=network)
        protocol = ProtocolP(refinement=options.refinement, **CPU)
        pair = Pair("liver", 1, support, query)
        predict = protocol_p.predictor(protocol, network)
        ((_, masks),) = protocol_p.score_pairs(Scorer(network, [support, query], options), [pair], predict)
        drawn = np.zeros(SHAPE, np.uint8)
        chosen = protocol_p.support_slice_indices(protocol_p.occupied_slices(support, 1))
        drawn[chosen] = support.labels[chosen]
        matrix = np.diag([-4.0, -4.0, 8.0, 1.0])
        occupied = protocol_p.occupied_slices(query, 1)
        expected = segment_volume(
            support_from_mask(Volume(support.image, matrix), drawn, plane="axial"),
            Volume(query.image, matrix),
            Networks(qnet=model),
            dataclasses.replace(options, method="q-net", slices=tuple(occupied.tolist())),
        ).mask
        assert (masks[0][occupied] == (expected[occupied] > 0)).all()
        assert not np.delete(masks[0], occupied, axis=0).any()


def test_every_slice_is_encoded_once_unless_memory_is_short(monkeypatch):
    cases = [phantom_case(number) for number in (1, 2, 3)]
    todo = pairs_of(cases, "strict")
    predict = protocol_p.predictor(ProtocolP(), intensity_model().network)
    encoded = []
    for limit in (features.LIMIT, 1):
        scorer = Scorer(intensity_model().network, cases, ProtocolP(**CPU).options(), limit)
        encode, count = scorer._runner.encode, []
        monkeypatch.setattr(scorer._runner, "encode", lambda x, e=encode, c=count: c.append(len(x)) or e(x))
        masks = [mask for _, mask in protocol_p.score_pairs(scorer, todo, predict)]
        encoded.append((sum(count), np.stack(masks)))
    occupied = sum(len(protocol_p.occupied_slices(case, 1)) for case in cases)
    assert encoded[0][0] == occupied < encoded[1][0]
    assert (encoded[0][1] == encoded[1][1]).all()


def test_features_are_kept_in_half_where_that_loses_nothing():
    exact, inexact = torch.tensor([[1.0, 2.5]]), torch.tensor([[1.0001, 2.5]])
    assert features._packed(exact).dtype == torch.bfloat16
    assert features._packed(inexact).dtype == torch.float32


def test_cases_of_several_grids_meet_at_the_coarsest():
    cases = [phantom_case(1), phantom_case(2, (8.0, 5.0, 5.0))]
    scorer = Scorer(intensity_model().network, cases, ProtocolP(**CPU).options())
    predict = protocol_p.predictor(ProtocolP(), intensity_model().network)
    conditioned = scorer.condition(cases[0], 1, np.array([3, 5, 6]))
    masks = scorer.masks(conditioned, cases[1], np.array([4, 5, 6]), predict)
    assert masks.shape == (1, 3, 64, 64) and masks.any()


@pytest.mark.parametrize("method", ["panet", "alpnet", "adnet", "senet"])
def test_baselines_are_scored_by_the_same_code(method):
    config = QNetConfig(
        size=64,
        spacing=4.0,
        threshold_hidden=4,
        downsample_layer=2,
        paths="coarse",
        feature_channels=16,
        threshold="fixed",
    )
    torch.manual_seed(0)
    network = build_method(method, config).eval()
    cases = [phantom_case(1), phantom_case(2)]
    scorer = Scorer(network, cases, ProtocolP(**CPU).options())
    predict = protocol_p.predictor(ProtocolP(), network)
    conditioned = scorer.condition(cases[0], 1, np.array([3, 5, 6]))
    assert scorer.masks(conditioned, cases[1], np.array([4, 5]), predict).shape == (1, 2, 64, 64)
    with pytest.raises(InputError, match="one path only" if method == "adnet" else "neither refinement nor"):
        protocol_p.predictor(ProtocolP(alpha=0.5), network)
    if method != "adnet":  # which is a Q-Net of one path
        with pytest.raises(InputError, match="neither refinement nor alpha"):
            protocol_p.predictor(ProtocolP(refinement=Refinement("released")), network)


# --- runs that go on ---------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Twelve cases: folds of five in the released scheme, as in the data set."""
    write_chaos_like(tmp_path / "data", cases=6)
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(protocol_p, "load_method", lambda path: intensity_model())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    return weights


def test_a_killed_run_goes_on_and_ends_with_the_same_rows(small, tmp_path):
    protocol = ProtocolP(structures=("spleen",), **CPU)
    whole = protocol_p.run(protocol, small, tmp_path / "whole.json", lambda line: None)

    class Killed(BaseException):
        pass

    def kill_after_two(line, seen=[]):  # noqa: B006
        seen.append(line)
        if len(seen) == 2:
            raise Killed

    output = tmp_path / "p.json"
    with pytest.raises(Killed):
        protocol_p.run(protocol, small, output, kill_after_two)
    log = output.with_suffix(".part.jsonl")
    assert not output.exists() and len(log.read_text().splitlines()) == 3
    with log.open("a") as file:
        file.write('{"key": "cut o')  # a line that the kill cut off
    lines = []
    content = protocol_p.run(protocol, small, output, lines.append)
    assert content["rows"] == whole["rows"] and content["summary"] == whole["summary"]
    assert lines[0] == "2 of 4 rows are taken over from an unfinished run" and len(lines) == 1 + 2 + 2
    assert output.exists() and not log.exists()


def test_rows_of_another_run_are_not_taken_over(tmp_path):
    output = tmp_path / "p.json"
    key, row = {"structure": "liver"}, {"dice": 1.0}
    RowLog(output, {"weights": "a"}).add(key, row)
    assert RowLog(output, {"weights": "a"}).get(key) == row
    assert RowLog(output, {"weights": "b"}).get(key) is None
    assert RowLog(output, {"weights": "a"}).get(key) is None


def test_rows_that_cannot_be_kept_are_an_error(tmp_path, monkeypatch):
    log = RowLog(tmp_path / "p.json", {})
    log.path.unlink()
    log.path.mkdir()
    with pytest.raises(OutputError, match="cannot be kept"):
        log.add({}, {})
    assert json.loads(results.write_json(tmp_path / "r.json", {"a": 1}).read_text()) == {"a": 1}


def test_a_fold_with_too_few_cases_and_a_missing_label_file_are_named(small, tmp_path):
    with pytest.raises(DatasetError, match="Fold 2 of chaos has only 0 cases"):
        protocol_p.fold_cases(ProtocolP(fold=2))
    path = tmp_path / "data" / dataset("chaos").images.replace("image_", "label_").format(3)
    path.unlink()
    with pytest.raises(DatasetError, match=r"label_3\.nii\.gz is missing"):
        protocol_p.fold_cases(ProtocolP())
