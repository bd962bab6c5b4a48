"""A DICOM segmentation beside another result of the same study."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

# isort: split
from qnetseg.boxes import Box
from qnetseg.errors import OutputError
from qnetseg.segment import Query
from qnetseg.volume import Volume, dicom, read_volume, write_volume
from qnetseg.volume.dicom import source_frames
from qnetseg.volume.dicom_beside import save_dicom_beside
from support.seg_bed import (
    WEIGHTS,
    frames_by_hand,
    image_names,
    info,
    random_masks,
    slices,
    write_frames,
    write_slices,
)


@pytest.fixture
def series(tmp_path):
    return write_slices(tmp_path / "series", slices("oblique"))


def save_beside(tmp_path, series, grid):
    segments = [(info(), Box.around(random_masks()[0]))]
    return save_dicom_beside(tmp_path / "x.seg.nrrd", series, grid, segments, WEIGHTS)


def found_in(path, volume):
    masks, images = np.zeros(volume.shape, bool), image_names(volume)
    for _, image, pixels, _ in frames_by_hand(path):
        masks[images.index(image)] = pixels
    return masks


def test_the_grid_of_a_query_knows_its_files(tmp_path, series, monkeypatch):
    """The files are not looked for again."""
    volume = read_volume(series)
    monkeypatch.setattr(dicom, "_series_in", None)
    path = save_beside(tmp_path, series, Query.of(volume).grid)
    assert path == tmp_path / "x.seg.dcm" and np.array_equal(found_in(path, volume), random_masks()[0])


def test_of_another_grid_the_files_are_found_without_the_pixels(tmp_path, series, monkeypatch):
    volume = read_volume(series)
    monkeypatch.setattr(dicom, "_pixels", None)
    path = save_beside(tmp_path, series, Volume.blank(volume.shape, volume.ijk_to_ras, "x"))
    assert np.array_equal(found_in(path, volume), random_masks()[0])


@pytest.mark.filterwarnings("ignore::qnetseg.errors.FileWarning")
def test_the_frames_of_files_and_folders(tmp_path, series):
    file = write_frames(tmp_path / "frames" / "e", [2, 0, 1, 3, 4, 5])
    for path in (series, file, file.parent, next(series.iterdir())):
        assert source_frames(path) == read_volume(path).frames


def test_a_study_of_another_format_has_none(tmp_path, series):
    volume = read_volume(series)
    write_volume(tmp_path / "a.nrrd", volume)
    assert save_beside(tmp_path, tmp_path / "a.nrrd", volume) is None
    (tmp_path / "empty").mkdir()
    assert save_beside(tmp_path, tmp_path / "empty", volume) is None
    assert not (tmp_path / "x.seg.dcm").exists()


def test_a_file_of_others_stays(tmp_path, series):
    (tmp_path / "x.seg.dcm").write_bytes(b"other")
    with pytest.raises(OutputError, match=r"'x\.seg\.dcm' is in the way"):
        save_beside(tmp_path, series, read_volume(series))
    (tmp_path / "x.seg.dcm").write_bytes(next(series.iterdir()).read_bytes())
    with pytest.raises(OutputError, match="Move or rename it"):
        save_beside(tmp_path, series, read_volume(series))
    (tmp_path / "x.seg.dcm").unlink()
    for _ in range(2):
        assert save_beside(tmp_path, series, read_volume(series)) == tmp_path / "x.seg.dcm"
