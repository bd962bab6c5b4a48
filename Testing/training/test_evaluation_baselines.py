"""Studies, simulated users and baselines of R1 to R3 on volumes with answers worked out by hand."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import SimpleITK

from qnetseg.errors import DatasetError, InputError
from qnetseg.volume import Volume, canonical
from qnetseg_lab.data.open import TRAINING
from qnetseg_lab.evaluation import metrics
from qnetseg_lab.evaluation.whole_volume import collections as studies
from qnetseg_lab.evaluation.whole_volume import methods as baselines
from qnetseg_lab.evaluation.whole_volume import r1, scoring
from qnetseg_lab.evaluation.whole_volume.collections import collection, make_study
from qnetseg_lab.evaluation.whole_volume.drawn_slices import from_the_middle, largest, occupied_slices, pairs
from qnetseg_lab.evaluation.whole_volume.methods import METHODS, Task, chosen_methods, draw, run_method
from qnetseg_lab.evaluation.whole_volume.methods.grow_cut import Grower
from qnetseg_lab.evaluation.whole_volume.methods.transfer import transferred
from qnetseg_lab.evaluation.whole_volume.r1 import R1

SPACING = (5.0, 1.0, 1.0)


def ball(shape=(21, 48, 48), radius=40.0, spacing=SPACING, centre=None):
    """(S, H, W) bool ball in mm about the middle."""
    middle = [(count - 1) / 2 for count in shape] if centre is None else centre
    axes = [(np.arange(n) - m) * mm for n, m, mm in zip(shape, middle, spacing, strict=True)]
    k, j, i = np.meshgrid(*axes, indexing="ij")
    return k**2 + j**2 + i**2 < radius**2


def study_of(mask, spacing=SPACING, name="s", **kwargs):
    """A study with one bright structure, label 1, on canonical axes."""
    matrix = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    rng = np.random.default_rng(0)
    image = (100.0 * mask + rng.standard_normal(mask.shape)).astype(np.float32)
    return make_study(name, Volume(image, matrix, name), mask.astype(np.int32), **kwargs)


@pytest.fixture
def sphere():
    mask = ball((21, 48, 48), 18.0)
    return study_of(mask), mask


def test_copy_takes_the_nearest_drawn_slice(sphere):
    study, truth = sphere
    task = draw(study, truth, "ball", [8, 12])
    mask = run_method("copy", task, None, None).mask
    assert (mask[0] == truth[8]).all() and (mask[10] == truth[8]).all() and (mask[11] == truth[12]).all()


def test_ellipsoid_of_the_right_length_is_the_ball(sphere):
    study, truth = sphere
    occupied = occupied_slices(study, truth)
    task = draw(study, truth, "ball", [largest(truth)], usual_length=36.0)
    found = run_method("ellipsoid", task, None, None).mask
    assert metrics.dice(found, truth) > 0.95
    assert set(np.flatnonzero(found.any(axis=(1, 2)))) == set(occupied)
    alone = run_method("ellipsoid", draw(study, truth, "ball", [10]), None, None).mask
    assert metrics.dice(alone, truth) > 0.95  # the drawing's own diameter stands in for other patients


def test_shapes_are_interpolated_between_drawn_slices_and_end_at_empty_ones(sphere):
    study, truth = sphere
    between = run_method("interpolation", draw(study, truth, "ball", [8, 12]), None, None).mask
    assert metrics.dice(between[9:12], truth[9:12]) > 0.8 and between[10].sum() == truth[8].sum()
    assert not between[:8].any() and not between[13:].any()
    picked = METHODS["interpolation"].pick(occupied_slices(study, truth), 10, len(truth))
    assert picked == [6, 8, 10, 12, 14] and not truth[[6, 14]].any()
    whole = run_method("interpolation", draw(study, truth, "ball", picked), None, None).mask
    assert metrics.dice(whole, truth) > 0.9 and whole[7].any() and whole[13].any()
    one = run_method("interpolation", draw(study, truth, "ball", [10]), None, None).mask
    assert one.sum() == truth[10].sum()


def test_random_walker_finds_a_bright_ball_and_keeps_the_drawing(sphere, monkeypatch):
    study, truth = sphere
    walker = importlib.import_module("qnetseg_lab.evaluation.whole_volume.methods.random_walker")
    for limit, least in ((10**6, 0.9), (13_000, 0.8)):
        monkeypatch.setattr(walker, "LIMIT", limit)
        found = run_method("random-walker", draw(study, truth, "ball", [2, 10, 18]), None, None).mask
        assert metrics.dice(found, truth) > least and (found[10] == truth[10]).all()
    everything = np.ones((4, 8, 8), bool)
    assert walker.walk(draw(study_of(everything), everything, "all", [1])).mask.all()


def test_grow_cut_of_slicer_grows_the_ball(sphere):
    pytest.importorskip("slicer_core", reason="slicer-core is not installed")
    study, truth = sphere
    picked = METHODS["growcut-ends"].pick(occupied_slices(study, truth), 10, len(truth))
    assert picked == [5, 10, 15]
    found = run_method("growcut-ends", draw(study, truth, "ball", picked), None, None).mask
    assert metrics.dice(found, truth) > 0.9 and (found[10] == truth[10]).all()
    first, corrected = draw(study, truth, "ball", [10]), draw(study, truth, "ball", [7, 10])
    alone = run_method("growcut", first, None, None).mask
    assert alone.dtype == bool and metrics.dice(alone, truth) > 0.9
    grower = Grower(first)
    assert (grower(first).mask == alone).all()
    assert (grower(corrected).mask == run_method("growcut", corrected, None, None).mask).all()


def test_painted_ends_stay_inside_the_stack():
    pick = METHODS["growcut-ends"].pick
    assert pick(np.arange(0, 5), 2, 20) == [2, 6]
    assert pick(np.arange(1, 20), 9, 20) == [0, 9]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_function(name):
    module, function = METHODS[name].function.split(":")
    assert callable(getattr(importlib.import_module(f"{baselines.__name__}.{module}"), function))


def test_methods_are_named_and_know_their_protocols(monkeypatch):
    assert chosen_methods(("copy", "copy"), "r1") == ("copy",)
    monkeypatch.setattr(baselines, "find_spec", lambda name: object())
    assert set(chosen_methods(("all",), "r3")) == {"qnet", "qnet-alone", "qnet-slices", "copy", "ellipsoid"}
    with pytest.raises(InputError, match="no method 'magic'"):
        chosen_methods(("magic",), "r1")
    with pytest.raises(InputError, match="cannot take part in R3"):
        chosen_methods(("growcut",), "r3")
    with pytest.raises(InputError, match="No method is named"):
        chosen_methods((), "r1")
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs slicer_core, which is not installed"):
        chosen_methods(("growcut",), "r1")


def test_a_drawing_is_put_at_the_same_place_in_another_patient():
    source = ball((10, 40, 40), 9.0, centre=(6.0, 25.0, 12.0))
    support = draw(study_of(source), source, "ball", [6])
    query = study_of(np.zeros((20, 80, 80), bool), (2.5, 0.5, 0.5), "q")
    task = transferred(Task(query, "ball", np.zeros((20, 80, 80), bool), (), None, support))
    assert task.slices == (13,) or task.slices == (12,)
    rows, columns = (positions.mean() * 0.5 for positions in np.nonzero(task.mask[task.slices[0]]))
    assert rows == pytest.approx(25.0, abs=0.6) and columns == pytest.approx(12.0, abs=0.6)
    assert task.mask.sum() * 0.25 == pytest.approx(source[6].sum(), rel=0.1)
    small = study_of(np.zeros((20, 8, 8), bool), (2.5, 1.0, 1.0), "small")
    edge = transferred(Task(small, "ball", np.zeros((20, 8, 8), bool), (), None, support))
    assert edge.mask.any()
    assert transferred(support) is support


def test_figures_leave_out_what_was_drawn_or_not_labelled():
    truth = np.zeros((8, 4, 4), bool)
    truth[2:6, 1:3, 1:3] = True
    found = np.zeros_like(truth)
    found[2:7, 1:3, 1:3] = True
    figures = scoring.score(found, truth, (5.0, 2.0, 2.0), drawn=[3])
    assert figures["dice"] == pytest.approx(2 * 12 / (12 + 16))
    assert figures["end_error_slices"] == [0, 1] and figures["end_error_mm"] == [0.0, 5.0]
    assert figures["false_ml"] == pytest.approx(4 * 20 / 1000)
    assert figures["volume_error"] == pytest.approx(100 / 3)
    assert figures["surface_dice"] == 1.0  # one slice too many is within a slice's thickness
    labelled = truth.any(axis=(1, 2))
    part = scoring.score(found, truth, (5.0, 2.0, 2.0), labelled=labelled)
    assert part["dice"] == 1.0 and part["hd95"] == 0.0
    assert part["end_error_mm"] is None and part["false_ml"] is None


def test_figures_of_empty_masks():
    truth, empty = ball((5, 8, 8), 6.0), np.zeros((5, 8, 8), bool)
    missed = scoring.score(empty, truth, SPACING)
    assert missed["dice"] == missed["surface_dice"] == 0
    assert missed["hd95"] is None and missed["end_error_slices"] is None and missed["volume_error"] == -100
    nothing = scoring.score(empty, empty, SPACING)
    assert nothing["dice"] == nothing["surface_dice"] == 1 and nothing["volume_error"] is None
    assert scoring.outside_range(truth, empty) == truth.sum()
    assert scoring.slice_dice(empty, truth)[[0, 2]].tolist() == [float(not truth[0].any()), 0.0]


def test_simulated_users_draw_the_same_slices_every_time(sphere):
    study, truth = sphere
    occupied = np.arange(10, 30)
    drawn = {from_the_middle(occupied, seed, "1", "liver") for seed in range(20)}
    assert min(drawn) >= 15 and max(drawn) < 25 and len(drawn) > 3
    assert from_the_middle(occupied, 1, "1", "liver") == from_the_middle(occupied, 1, "1", "liver")
    assert from_the_middle(np.array([4, 5]), 0) in (4, 5)
    with pytest.raises(DatasetError, match="one slice of s"):
        occupied_slices(study, truth & (np.arange(21) == 10)[:, None, None])


def test_pairs_are_fair_from_the_beginning():
    names = [str(n) for n in range(5)]
    all_pairs = pairs(names, None, 0)
    assert len(set(all_pairs)) == 20 and all(a != b for a, b in all_pairs)
    assert len({query for _, query in all_pairs[:5]}) == len({support for support, _ in all_pairs[:5]}) == 5
    assert pairs(names, None, 0, 7) == all_pairs[:7] and pairs(names, None, 1, 7) != all_pairs[:7]
    across = pairs(["a", "b"], ["a", "x", "y"], 0)
    assert len(set(across)) == 6 and ("a", "a") in across
    assert pairs(["alone"], None, 0) == []


MATRICES = {
    "left-handed": np.diag([-1.0, 1.0, 5.0, 1.0]),
    "sagittal slices": np.array([[0, 0, 5, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], float),
}


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_stacks_run_along_the_thick_axis_and_crops_keep_their_place(matrix):
    labels = np.zeros((7, 9, 8), np.int32)
    labels[2:5, 3:6, 2:4] = 1
    image = np.arange(labels.size, dtype=np.float32).reshape(labels.shape)
    study = make_study("s", Volume(image, matrix), labels)
    assert study.spacing[0] == 5.0 and study.mask(1).shape[0] == 7
    assert (study.native(study.stack(image)) == image).all()
    part = study.crop(4, 6)
    assert (part.mask(1) == study.mask(1)[4:7]).all()
    world = {}
    for one in (study, part):
        turned, _ = canonical(one.volume)
        positions = np.argwhere(turned.array == 200.0)
        if len(positions):
            world[one] = turned.ijk_to_ras @ np.append(positions[0][::-1], 1.0)
    assert len({tuple(np.round(point, 6)) for point in world.values()}) == 1


def test_isotropic_volumes_are_drawn_on_axial_slices_unless_another_plane_is_asked_for():
    mask = ball((9, 10, 11), 3.0, (1.0, 1.0, 1.0))
    assert study_of(mask, (1.0, 1.0, 1.0)).plane == "axial"
    coronal = study_of(mask, (1.0, 1.0, 1.0), plane="coronal")
    assert coronal.mask(1).shape[0] == 10
    assert study_of(mask, (1.0, 1.0, 1.0), partly_labelled=True).labelled.sum() == 5


def test_a_study_turned_like_another_has_its_plane():
    mask = ball((9, 10, 11), 3.0)
    turned = study_of(mask).turned_like(study_of(mask, plane="coronal"))
    assert turned.plane == "coronal" and len(turned.labelled) == 10
    assert len(study_of(mask).turned_like(study_of(mask)).labelled) == 9


def write(path, array, spacing=(5.0, 1.0, 1.0)):
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    SimpleITK.WriteImage(image, str(path))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "hearts"
    root.mkdir()
    for number in (1, 2):
        mask = ball((8, 16, 16), 12.0)
        write(root / f"p{number}.nii.gz", (100 * mask + number).astype(np.float32))
        write(root / f"p{number}_seg.nii.gz", (mask * 3).astype(np.uint8))
    (root / "notes.txt").write_text("no image")
    return root


def test_a_folder_is_read_and_its_labels_are_discovered(folder):
    found = collection(str(folder))
    assert found.name == "hearts" and list(found.files) == ["p1", "p2"]
    assert found.structures == {"label 3": 3}
    assert found.load("p1").mask(3).sum() == ball((8, 16, 16), 12.0).sum()
    assert found.lengths()["label 3"] == {"p1": 20.0, "p2": 20.0}
    named = collection(str(folder), {"LV": 3}, ("p2",))
    assert named.structures == {"LV": 3} and list(named.files) == ["p2"]


def test_folders_that_cannot_be_scored_are_named(folder, tmp_path):
    with pytest.raises(DatasetError, match="no data set or folder 'nowhere'"):
        collection("nowhere")
    with pytest.raises(DatasetError, match="label 9"):
        collection(str(folder), {"liver": 9})
    with pytest.raises(DatasetError, match="no study 'p7'"):
        collection(str(folder), None, ("p7",))
    with pytest.raises(DatasetError, match="no labelled study"):
        collection(str(tmp_path))
    for path in folder.glob("*_seg.nii.gz"):
        path.write_bytes(b"broken")
    with pytest.raises(DatasetError, match="No label map"):
        collection(str(folder))


def test_faulty_slices_of_a_structure_are_not_scored(folder, monkeypatch):
    found = collection(str(folder))
    study = found.load("p1")
    monkeypatch.setattr(studies, "FAULTY", {("hearts", "p1", "label 3"): (3, 4)})
    scored = found.scored(study, "label 3")
    assert np.flatnonzero(~scored.labelled).tolist() == [3, 4] and study.labelled.all()
    assert found.scored(study, "label 1") is study
    assert found.scored(found.load("p2"), "label 3").labelled.all()
    run = R1(dataset=str(folder), methods=("copy",), choices=("largest",))
    rows = {row["query"]: row for row in r1.run(run, report=lambda line: None)["rows"]}
    truth, drawn = study.mask(3), rows["p1"]["slice"]
    copied = np.broadcast_to(truth[drawn], truth.shape)
    kept = np.delete(np.arange(len(truth)), [3, 4, drawn])
    assert rows["p1"]["dice"] == pytest.approx(metrics.dice(copied[kept], truth[kept]))
    assert rows["p2"]["dice"] != rows["p1"]["dice"]


def test_open_sets_are_parts_of_one_folder_that_no_weights_learn_from(tmp_path, monkeypatch):
    root = tmp_path / "open"
    root.mkdir()
    mask = ball((8, 16, 16), 12.0)
    for name in ("totalseg_a", "sct_b", "SCD1_ES", "sct_unlabelled"):
        write(root / f"{name}.nii.gz", (100 * mask).astype(np.float32))
        if name != "sct_unlabelled":
            write(root / f"{name}_seg.nii.gz", mask.astype(np.uint8))
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path))
    found = {name: collection(name) for name in studies.OPEN_SETS}
    assert {name: list(part.files) for name, part in found.items()} == {
        "open-ct": ["totalseg_a"],
        "open-cord": ["sct_b"],
        "open-heart": ["SCD1_ES"],
    }
    study = found["open-cord"].load("sct_b")
    assert found["open-cord"].name == "open-cord" and (study.labelled == mask.any(axis=(1, 2))).all()
    assert not [name for name in TRAINING if name.startswith(tuple(studies.OPEN_SETS.values()))]


def test_development_data_are_opened_with_their_real_matrices(development_data, monkeypatch):
    monkeypatch.setenv("QNETSEG_DATA", str(development_data))
    hearts = collection(studies.SUNNYBROOK)
    study = hearts.load("SCD0000101_ED")
    assert study.spacing[0] == pytest.approx(10.0, abs=0.01) and 0 < study.labelled.sum() < len(
        study.labelled
    )
    assert (study.mask(1).any(axis=(1, 2)) <= study.labelled).all()
    abdomen = collection("chaos", None, ("1",)).load("1")
    assert abdomen.plane == "axial" and abdomen.spacing[0] == pytest.approx(7.7, abs=0.01)
    liver, right_kidney = (np.argwhere(abdomen.mask(label)).mean(axis=0) for label in (1, 2))
    assert liver[0] > right_kidney[0]  # canonical stacks run upwards, whatever the file's handedness
