"""`qnetseg demo` and the contact sheet, and the drawing that the demonstration starts from."""

from __future__ import annotations

import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

from qnetseg.boxes import Box
from qnetseg.cli import demo, drawing, main
from qnetseg.cli.contact_sheet import chosen_slices, contact_sheet
from qnetseg.errors import InputError, OutputError
from qnetseg.segment.result import Found
from qnetseg.volume import Volume, canonical, read_labelmap, read_volume, support_from_mask
from support.cli_bed import bed

__all__ = ["bed"]


@pytest.fixture(scope="module")
def scan():
    return canonical(read_volume(demo.find_scan()))[0]


def test_the_drawing_lies_on_the_cerebellum(scan):
    """Its content is brain, just above it is the darker tentorium, below it is nothing."""
    mask = drawing.drawn_mask()
    assert mask.shape == scan.shape and np.flatnonzero(mask.any(axis=(0, 1))).tolist() == [drawing.SLICE]
    inside, image = mask[:, :, drawing.SLICE] > 0, scan.array[:, :, drawing.SLICE]
    assert 1900 < inside.sum() < 2200
    assert image[inside].mean() > 160 and (image[inside] < 40).mean() < 0.02
    for column in (160, 170):
        rows = np.flatnonzero(inside[:, column])
        assert image[rows[0] - 4 : rows[0] - 1, column].max() < 40
        above = image[rows[-1] : rows[-1] + 4, column]
        assert above.min() < image[rows[-1] - 6 : rows[-1] - 2, column].mean() - 15


def test_demo_writes_a_segmentation_and_a_picture(bed, capsys):
    folder = bed.folder / "new" / "demo"
    assert main(["demo", "--output", str(folder), "--device", "cpu"]) == 0
    told = capsys.readouterr()
    assert "in 197 slices from one drawn slice.\n" in told.err and "minutes" not in told.err
    assert str(folder / "demo.seg.nrrd") in told.out and str(folder / "demo.png") in told.out
    found = read_labelmap(folder / "demo.seg.nrrd")
    assert found.array.shape == read_volume(demo.find_scan()).shape
    assert [info.name for info in found.segments] == ["cerebellum"] and "113305005" in found.segments[
        0
    ].terminology
    height, width = imread(folder / "demo.png").shape[:2]
    assert width > 1000 and height > 300
    assert sorted(path.name for path in folder.iterdir()) == ["demo.png", "demo.seg.nrrd"]


def test_demo_as_json(bed, capsys, monkeypatch):
    monkeypatch.setattr(
        "qnetseg.cli.contact_sheet.contact_sheet", lambda *arguments: arguments[3].write_bytes(b"png")
    )
    assert main(["demo", "--output", str(bed.results), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["picture"] == str(bed.results / "demo.png") and told["seconds"] > 0
    assert told["report"]["structure"] == "cerebellum"


@pytest.mark.parametrize("package", ["nilearn", "matplotlib"])
def test_demo_names_the_package_that_it_lacks(bed, capsys, monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    assert main(["demo", "--output", str(bed.results)]) == 2
    assert f"needs the Python package {package}" in capsys.readouterr().err


def test_demo_with_another_nilearn(bed, capsys, monkeypatch):
    monkeypatch.setattr(demo, "SCAN", demo.SCAN.with_name("absent.nii.gz"))
    with pytest.raises(InputError, match="does not contain"):
        demo.find_scan()
    monkeypatch.setattr(demo, "find_scan", lambda: bed.query)
    assert main(["demo", "--output", str(bed.results)]) == 2
    assert "another scan" in capsys.readouterr().err


def test_demo_refuses_a_model_that_it_does_not_ask(bed, capsys):
    assert main(["demo", "--output", str(bed.results / "demo"), "--model", "tiny-qnet"]) == 2
    assert "is a Q-Net, and none is asked for here" in capsys.readouterr().err
    assert not (bed.results / "demo").exists()


def test_demo_into_a_file(bed, capsys):
    assert main(["demo", "--output", str(bed.query / "below a file")]) == 2
    assert "cannot be made" in capsys.readouterr().err


def part(index, occupied=True, drawn=False):
    return SimpleNamespace(index=index, occupied=occupied, drawn=drawn, score=0.8)


def sheet_of(volume, mask, plane, path, drawn_here=True, support_volume=None):
    """Draw a contact sheet of a mask that was drawn on its middle slice; the figure's texts."""
    turned, orientation = canonical(volume)
    axis = {"axial": 0, "coronal": 1, "sagittal": 2}[plane]
    slices = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
    middle = int(slices[len(slices) // 2])
    drawn = np.zeros_like(mask)
    index = tuple(middle if a == axis else slice(None) for a in range(3))
    drawn[index] = mask[index]
    support = support_from_mask(support_volume or volume, orientation.back(drawn), name="box", plane=plane)
    parts = tuple(part(n, n in slices, drawn_here and n == middle) for n in range(turned.shape[axis]))
    report = SimpleNamespace(
        slices=parts, structure="box", volume_ml=1.0, seconds=2.0, device="cpu", model="tiny", plane=plane
    )
    contact_sheet(volume, Found(Box.around(orientation.back(mask)), None, report), support, path, "Test")


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("drawn_here", [True, False])
def test_a_contact_sheet_in_every_plane(tmp_path, plane, drawn_here):
    array = np.random.default_rng(0).random((12, 30, 26)).astype(np.float32) + 0.2
    mask = np.zeros(array.shape, np.uint8)
    mask[3:9, 10:20, 8:18] = 1
    volume = Volume(array, np.diag([1.0, 1.0, 4.0, 1.0]))
    sheet_of(volume, mask, plane, tmp_path / "sheet.png", drawn_here)
    assert imread(tmp_path / "sheet.png").shape[1] > 1000


def test_the_found_outline_is_cyan_and_the_drawn_one_orange(tmp_path):
    array = np.random.default_rng(0).random((8, 40, 40)).astype(np.float32)
    mask = np.zeros(array.shape, np.uint8)
    mask[2:6, 10:30, 10:30] = 1
    sheet_of(Volume(array, np.diag([-1.0, -1.0, 2.0, 1.0])), mask, "axial", tmp_path / "sheet.png")
    picture = imread(tmp_path / "sheet.png")[..., :3]
    orange = np.abs(picture - (1.0, 0x95 / 255, 0.0)).max(axis=-1) < 0.02
    cyan = np.abs(picture - (0.0, 0xE5 / 255, 1.0)).max(axis=-1) < 0.02
    half = picture.shape[0] // 2
    assert orange[:half].sum() > 500 and cyan.sum() > 1000
    assert np.flatnonzero(orange[:half].any(axis=0)).max() < np.flatnonzero(cyan.any(axis=0)).max()


def test_a_volume_of_negative_values_is_shown(tmp_path):
    array = np.random.default_rng(0).random((4, 12, 12)).astype(np.float32) - 9
    mask = (array > -8.9).astype(np.uint8)
    sheet_of(Volume(array, np.eye(4)), mask, "axial", tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_slices_are_spread_over_the_structure():
    slices = tuple(part(n, 10 <= n < 40, n == 25) for n in range(60))
    chosen = [entry.index for entry in chosen_slices(slices, 11)]
    assert chosen[0] == 10 and chosen[-1] == 39 and 25 not in chosen and len(set(chosen)) == 11
    assert [entry.index for entry in chosen_slices(slices[8:12], 11)] == [10, 11]
    assert len(chosen_slices(tuple(part(n, False) for n in range(60)), 11)) == 11


def test_a_picture_that_cannot_be_written_is_an_output_error(tmp_path):
    array = np.random.default_rng(0).random((4, 12, 12)).astype(np.float32)
    mask = (array > 0.5).astype(np.uint8)
    with pytest.raises(OutputError):
        sheet_of(Volume(array, np.eye(4)), mask, "axial", tmp_path / "absent" / "sheet.png")
