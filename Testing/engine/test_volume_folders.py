"""Volumes in a folder, with the labels that belong to them."""

from __future__ import annotations

import pytest

from qnetseg.errors import InputError
from qnetseg.volume import volumes_in

DICOM = b"\0" * 128 + b"DICM"


def fill(folder):
    for name in ("b.mhd", "A.nii", "F.NII.GZ", "c.nrrd", ".hidden.nii", "table.csv"):
        (folder / name).write_bytes(b"x")
    for name in ("A_seg.nii.gz", "c.seg.nrrd", "orphan.seg.nrrd", "series_seg.mha"):
        (folder / name).write_bytes(b"x")
    for name, content in (
        ("series", DICOM),
        ("notes", b"x"),
        ("deeper/series", DICOM),
        ("deeper/.git", DICOM),
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / "IM0001").write_bytes(content)


def names(found, folder):
    return [str(volume.path.relative_to(folder)) for volume in found]


def test_images_and_series_come_in_the_order_of_names_with_their_labels(tmp_path):
    fill(tmp_path)
    found = volumes_in(tmp_path)
    assert names(found, tmp_path) == ["A.nii", "b.mhd", "c.nrrd", "F.NII.GZ", "series"]
    assert [volume.stem.name for volume in found] == ["A", "b", "c", "F", "series"]
    labels = [volume.labels and volume.labels.name for volume in found]
    assert labels == ["A_seg.nii.gz", None, "c.seg.nrrd", None, "series_seg.mha"]


def test_subfolders_are_looked_into_where_that_is_asked_for(tmp_path):
    fill(tmp_path)
    found = names(volumes_in(tmp_path, below=True), tmp_path)
    assert found == ["A.nii", "b.mhd", "c.nrrd", "deeper/series", "F.NII.GZ", "series"]
    assert names(volumes_in(tmp_path / "series", below=True), tmp_path) == ["series"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        volumes_in(tmp_path / "gone")
    assert volumes_in(tmp_path) == []
