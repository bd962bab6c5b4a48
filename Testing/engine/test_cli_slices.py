"""Slices by the file's own index, and planes by the names that people have for them."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import SimpleITK as sitk

from qnetseg.cli import segment
from qnetseg.cli.inputs import Inputs, marked
from qnetseg.cli.results import in_file_terms
from qnetseg.segment import Query, Report, SliceReport
from qnetseg.volume import PLANES, Drawing, Volume, canonical, file_slices, plane_name, support_from_mask
from support.cli_bed import Bed, fake_engine

SHAPE = (4, 5, 6)
HEART = np.array([-0.6, 0.62, -0.5]) / np.linalg.norm([-0.6, 0.62, -0.5])


def matrix_with_normal(normal, flip=False):
    """An IJK-to-RAS matrix whose k axis follows a RAS direction."""
    across = np.cross(normal, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([across, np.cross(normal, across), normal], axis=1) * [
        1.4,
        1.4,
        -8 if flip else 8,
    ]
    return matrix


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_a_slice_is_found_in_the_file_by_its_own_index(order, signs):
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([1.0, 1.5, 2.0])[:, order] * signs
    array = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    volume = Volume.checked(array, matrix)
    turned, _ = canonical(volume)
    for plane, axis in PLANES.items():
        slices = file_slices(volume, plane)
        assert slices.name == plane and slices.count == turned.shape[axis]
        for index in range(slices.count):
            own = array.take(slices.at(index), "kji".index(slices.axis))
            assert sorted(own.ravel()) == sorted(turned.array.take(index, axis).ravel())
            assert slices.at(slices.at(index)) == index


@pytest.mark.parametrize(
    ("normal", "name", "expected"),
    [
        ((0.0, 0.0, 1.0), "sa", "axial"),
        ((0.0, 0.3, 0.95), "head", "axial"),  # tilted as heads are
        ((0.0, 0.6, 0.8), "head", "oblique"),
        (HEART, "patient 1", "oblique"),
        *(
            (HEART, name, "short axis")
            for name in ("cine_SA", "sax", "SAX_3", "Short axis", "short-axis stack")
        ),
        *((HEART, name, "oblique") for name in ("salt", "saxony", "usa")),
    ],
)
def test_planes_have_the_names_that_people_use(normal, name, expected):
    normal = np.array(normal) / np.linalg.norm(normal)
    assert plane_name(normal, name) == plane_name(-normal, name) == expected


def report_of(support, volume):
    """A report on every slice of the plane that was drawn in; of the drawn ones it says so."""
    count = canonical(volume, support.axes)[0].shape[PLANES[support.plane]]
    drawn = {part.index for part in support.slices}
    slices = tuple(SliceReport(k, True, 0.1 * k, next(iter(drawn)), 1.0, k in drawn) for k in range(count))
    return Report("x", "m", "cpu", "fp32", 1.0, 2.0, support.plane, 0.0, slices, ())


def counted(volume, drawn_on, support):
    inputs = Inputs(volume, Query.of(volume), drawn_on and Query.of(drawn_on), [])
    return segment.counted(inputs, support)


@pytest.mark.parametrize("flip", [False, True])
def test_the_report_of_a_short_axis_stack_is_in_the_files_terms(flip):
    volume = Volume.checked(
        np.random.default_rng(0).random((9, 20, 20)).astype(np.float32), matrix_with_normal(HEART, flip), "SA"
    )
    mask = np.zeros(volume.shape, np.uint8)
    mask[6, 5:10, 5:10] = 1
    support = support_from_mask(volume, mask)
    content = in_file_terms(report_of(support, volume), *counted(volume, volume, support))
    assert (content["plane"], content["axis"]) == ("short axis", "k")
    assert [part["index"] for part in content["slices"]] == list(range(9))
    assert [part["index"] for part in content["slices"] if part["drawn"]] == [6]
    assert {part["support_index"] for part in content["slices"]} == {6}
    json.dumps(content)
    assert counted(volume, None, support)[1] == counted(volume, volume, support)[0]
    other = Volume(volume.array + 1, volume.ijk_to_ras, "SA")
    assert counted(other, None, support)[1] is None


@pytest.mark.parametrize("flip", [False, True])
def test_slices_without_the_structure_are_named_by_their_index_in_the_file(flip):
    matrix = np.diag([1.0, 1.0, -5.0 if flip else 5.0, 1.0])
    volume = Volume.checked(np.random.default_rng(0).random((9, 20, 20)).astype(np.float32), matrix)
    drawn = np.zeros(volume.shape, bool)
    drawn[6, 5:10, 5:10] = True
    query = Query.of(volume)
    support = query.pack(marked(query, Drawing.of_mask(drawn, volume.shape), [1, 8]))
    slices = file_slices(volume, support.plane)
    assert sorted(slices.at(part.index) for part in support.slices) == [1, 6, 8]


def test_pictures_and_lines_count_as_the_file_does(tmp_path, monkeypatch, capsys):
    """A file whose slices run from the head to the feet."""
    bed = Bed(tmp_path)
    monkeypatch.setenv("QNETSEG_RESOURCES", str(bed.resources))
    monkeypatch.setattr("qnetseg.cli.compute.engine", fake_engine())
    for path in (bed.query, bed.mask):
        image = sitk.ReadImage(str(path))
        image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
        sitk.WriteImage(image, str(path))
    titles = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda _, text, **__: titles.append(text))
    report = bed.results / "r.json"
    assert bed.segment("--label", "1", "--report", report, "--picture", bed.results / "p.png") == 0
    content = json.loads(report.read_text(encoding="utf-8"))["segments"][0]
    # The fake engine tells of the lowest slice, which is the file's last one.
    assert content["axis"] == "k" and [part["index"] for part in content["slices"]] == [5]
    assert "slice 5, confidence 0.50" in titles and "look at slices 5\n" in capsys.readouterr().out
