"""Protocol P on synthetic cases with answers worked out by hand; metrics, result files and tables."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK

from qnetseg.errors import DatasetError, InputError, OutputError
from qnetseg_lab import report
from qnetseg_lab.data import CATALOGUE, Case, dataset
from qnetseg_lab.evaluation import floor, protocol_p, results
from qnetseg_lab.evaluation.metrics import bootstrap_interval, dice, iou
from qnetseg_lab.evaluation.protocol_p import Pair, ProtocolP, support_slice_indices
from qnetseg_lab.evaluation.results import RowLog, recorded_recipe
from qnetseg_lab.evaluation.summary import summarise
from support.evaluation_bed import write_chaos_like
from support.intensity_model import intensity_model


def rows_of(protocol, model, report=lambda line: None):
    predict = protocol_p.predictor(protocol, model.network)
    return protocol_p.score_fold(protocol, model, predict, protocol_p.measure_pair, RowLog(None, {}), report)


def trained_on(*sources):
    recipe = {"name": "own", "data": list(sources)}
    return dataclasses.replace(intensity_model(), provenance={"recipe": recipe})


@pytest.fixture(scope="module")
def chaos_like(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_chaos_like(root)
    return root


@pytest.fixture
def data(chaos_like, monkeypatch):
    monkeypatch.setenv("QNETSEG_DATA", str(chaos_like))
    return dataset("chaos")


def test_overlap_measures_by_hand():
    a, b = np.array([1, 1, 1, 0]), np.array([0, 1, 1, 1])
    assert dice(a, b) == pytest.approx(4 / 6) and iou(a, b) == pytest.approx(2 / 4)
    zero = np.zeros(4)
    assert dice(zero, zero) == iou(zero, zero) == 1 and dice(a, zero) == iou(a, zero) == 0


def test_bootstrap_interval_holds_the_mean_and_shrinks_to_it_for_equal_values():
    low, high = bootstrap_interval([60.0, 70.0, 80.0, 90.0])
    assert 60 <= low < 75 < high <= 90
    assert bootstrap_interval([50.0, 50.0]) == (50.0, 50.0)


def test_support_slices_lie_at_one_three_and_five_sixths():
    # 13 slices: 13/6 = 2.17, 13/2 = 6.5, 65/6 = 10.8, cut to whole numbers.
    assert support_slice_indices(np.arange(20, 33)).tolist() == [22, 26, 30]
    assert support_slice_indices(np.array([4, 9])).tolist() == [4, 9, 9]
    assert support_slice_indices(np.array([7])).tolist() == [7, 7, 7]


def test_released_folds_overlap_by_one_and_strict_folds_do_not(data):
    names = data.case_names()
    assert names == [str(n) for n in range(1, 21)]
    assert data.fold(0) == ["1", "2", "3", "4", "5"] and data.fold(1)[0] == "5"
    assert data.fold(4) == ["17", "18", "19", "20", "1"]
    strict = [name for index in range(5) for name in data.fold(index, "strict")]
    assert strict == names
    with pytest.raises(DatasetError, match="no fold 5"):
        data.fold(5)


def test_released_scheme_scores_four_queries_from_the_third_case(data):
    rows = rows_of(ProtocolP(device="cpu", precision="fp32"), intensity_model())
    assert {row["support"] for row in rows} == {"3"}
    assert [row["query"] for row in rows if row["structure"] == "liver"] == ["1", "2", "4", "5"]
    assert all(row["dice"] > 0.5 for row in rows)
    summary = summarise(rows, data.labels)
    assert summary["liver"]["patients"] == 4
    assert summary["mean"]["dice"] == pytest.approx(np.mean([summary[name]["dice"] for name in data.labels]))


def test_strict_scheme_counts_every_patient_once_over_all_supports(data):
    protocol = ProtocolP(scheme="strict", device="cpu", precision="fp32")
    rows = [row for row in rows_of(protocol, intensity_model()) if row["structure"] == "liver"]
    assert len(rows) == 12
    assert summarise(rows, data.labels)["liver"]["patients"] == 4


def test_the_floor_pastes_the_mask_of_each_third_at_the_same_place():
    labels = np.zeros((9, 256, 256), np.int32)
    for index in range(1, 7):  # six slices: drawn are those at 1, 3 and 5
        labels[1 + index, 100 : 110 + index, 50:60] = 1
    support = Case("1", labels.astype(np.float32), labels, None, (8.0, 1.25, 1.25))
    query = dataclasses.replace(support, name="2", labels=np.roll(labels[:, ::-1], -2, axis=0))
    mask = floor.pasted(Pair("organ", 1, support, query))
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [0, 1, 2, 3, 4, 5]
    for index in range(6):
        assert np.array_equal(mask[index], labels[[3, 3, 5, 5, 7, 7][index]] == 1)


def test_the_floor_of_all_folds_is_one_file(data, tmp_path):
    content = floor.run("chaos", "strict", tmp_path / "floor.json", report=lambda line: None)
    assert json.loads((tmp_path / "floor.json").read_text()) == json.loads(json.dumps(content))
    assert {row["fold"] for row in content["rows"]} == {0, 1, 2, 3, 4}
    assert content["summary"]["mean"]["patients"] == 20


def test_only_slices_with_the_organ_are_scored(data):
    protocol = ProtocolP(structures=("spleen",), device="cpu", precision="fp32")
    rows = rows_of(protocol, intensity_model())
    assert {row["structure"] for row in rows} == {"spleen"} and len(rows) == 4
    for row in rows:
        assert row["dice"] > 0.6 and row["iou"] == pytest.approx(row["dice"] / (2 - row["dice"]))
        assert 0.5 < row["surface_dice"] <= 1 and row["hd95"] < 40


def test_run_writes_a_result_file_that_says_where_it_comes_from(data, tmp_path, monkeypatch):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    monkeypatch.setattr(protocol_p, "load_method", lambda path: intensity_model())
    lines = []
    output = tmp_path / "deep" / "p.json"
    content = protocol_p.run(ProtocolP(device="cpu"), weights, output, lines.append)
    assert json.loads(output.read_text())["rows"] == content["rows"]
    assert {"weights_sha256", "revision", "device", "seed", "torch", "machine"} <= set(content)
    assert len(lines) == 16 + 5
    assert {entry.name for entry in output.parent.iterdir()} == {"p.json"}
    assert (content["method"], content["model"], content["exclude_rule"]) == ("qnet", tmp_path.name, None)
    assert content["model_config"]["size"] == 64 and content["options"]["refinement"]["mode"] == "none"
    for entry in content["summary"].values():
        measured = {"dice", "iou", "surface_dice", "hd95", "interval"}
        assert set(entry) == measured | {"patients", "pairs", "hd95_undefined"}
        assert entry["interval"][0] <= entry["dice"] <= entry["interval"][1] and entry["patients"] == 4


def test_a_result_file_holds_the_recipe_without_folders():
    sources = [{"name": "chaos", "fold": 1}, {"name": "/data/of/mine", "fold": 1}]
    for start, kept in (
        ("radiology", "radiology"),
        ("torchvision:resnet50.IMAGENET1K_V2", "torchvision:resnet50.IMAGENET1K_V2"),
        ("/machine/start/radiology50.safetensors", "radiology50"),
        ("runs/first-fold1/model.safetensors", "first-fold1"),
    ):
        recipe = {"name": "mine", "start": start, "steps": 3, "data": sources}
        model = dataclasses.replace(intensity_model(), provenance={"recipe": recipe})
        own = recorded_recipe(model)
        assert own == {**recipe, "start": kept, "data": [sources[0], {**sources[1], "name": "mine"}]}
    assert recorded_recipe(intensity_model()) is None


def test_setting_2_scores_what_training_left_out_and_refuses_other_weights():
    source = {"name": "chaos", "fold": 0, "scheme": "released", "exclude": ["liver", "spleen"]}
    model = trained_on(source)
    protocol = ProtocolP(setting=2)
    assert protocol_p.scored_structures(protocol, model) == ["liver", "spleen"]
    assert protocol_p.exclude_rule(protocol, model) == "any"
    assert protocol_p.exclude_rule(ProtocolP(), model) is None
    weaker = trained_on(source, {**source, "exclude_rule": "all"})
    assert protocol_p.exclude_rule(protocol, weaker) == "all"
    some = dataclasses.replace(protocol, structures=("liver",))
    assert protocol_p.scored_structures(some, model) == ["liver"]
    # Seen by one of two sources is seen; an official checkpoint says nothing, so the caller has to.
    both = trained_on(source, {**source, "exclude": ["liver"]})
    assert protocol_p.scored_structures(protocol, both) == ["liver"]
    assert protocol_p.scored_structures(some, intensity_model()) == ["liver"]
    for asked, weights in (
        (protocol, intensity_model()),
        (protocol, trained_on()),
        (dataclasses.replace(protocol, structures=("right kidney",)), model),
        (dataclasses.replace(protocol, structures=("liver", "right kidney")), model),
    ):
        with pytest.raises(InputError, match="not trained for Setting 2"):
            protocol_p.scored_structures(asked, weights)


def test_weights_that_were_trained_on_scored_cases_are_marked(data):
    source = {"name": "chaos", "fold": 0, "scheme": "released", "exclude": []}
    model = trained_on(source)
    assert protocol_p.has_seen_the_fold(ProtocolP(fold=0), model) is False
    assert protocol_p.has_seen_the_fold(ProtocolP(fold=1), model) is True
    assert protocol_p.has_seen_the_fold(ProtocolP(dataset="cmr"), model) is False
    assert protocol_p.has_seen_the_fold(ProtocolP(scheme="strict"), model) is False  # cases 1 to 4
    assert protocol_p.has_seen_the_fold(ProtocolP(), trained_on(source, {**source, "fold": 1})) is True
    assert protocol_p.has_seen_the_fold(ProtocolP(), trained_on(source, {"name": "chaos"})) is True
    source["fold"] = -1
    assert protocol_p.has_seen_the_fold(ProtocolP(fold=0), model) is True
    assert protocol_p.has_seen_the_fold(ProtocolP(), intensity_model()) is None


def test_settings_that_make_no_sense_are_refused():
    for values in (
        {"setting": 3},
        {"scheme": "lucky"},
        {"dataset": "cmr", "setting": 2},
        {"alpha": 1.1},
        {"structures": ("heart",)},
    ):
        with pytest.raises(InputError):
            ProtocolP(**values)
    with pytest.raises(DatasetError, match="no data set"):
        dataset("liver")


def test_missing_data_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="not found"):
        dataset("chaos").case_names()
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match="no images"):
        dataset("chaos").case_names()


def test_labels_of_another_shape_are_named(data, chaos_like, tmp_path, monkeypatch):
    entry = CATALOGUE["chaos"]
    for pattern in (entry.images, entry.images.replace("image_", "label_")):
        path = tmp_path / pattern.format(1)
        path.parent.mkdir(parents=True, exist_ok=True)
        image = SimpleITK.ReadImage(str(chaos_like / pattern.format(1)))
        SimpleITK.WriteImage(image[:, :, :5] if "label" in pattern else image, str(path))
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=r"label_1\.nii\.gz has shape"):
        dataset("chaos").load("1")


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = results.write_json(tmp_path / "r.json", {"a": 1})

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.os, "replace", full)
    with pytest.raises(OutputError, match="No space"):
        results.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.json"]


def test_a_broken_result_file_is_named(tmp_path):
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(InputError, match=r"p\.json"):
        report.write_report(tmp_path)


def test_revision_is_unknown_outside_a_checkout(monkeypatch):
    def no_git(*_args, **_kwargs):
        raise FileNotFoundError("git")

    monkeypatch.setattr("qnetseg_lab.provenance.subprocess.run", no_git)
    assert results.describe_run(None, "cpu")["revision"] == "unknown"
