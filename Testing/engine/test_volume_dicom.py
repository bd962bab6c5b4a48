"""DICOM folders: the largest series, its true geometry, and refusal of incomplete or mixed ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from qnetseg.errors import FileWarning, GeometryError, InputError, VolumeError
from qnetseg.volume import read_volume
from support.dicom_series import write_series


def test_a_series_is_one_volume(tmp_path):
    array = write_series(tmp_path / "a")
    volume = read_volume(tmp_path / "a")
    assert volume.array.dtype == np.float32 and np.array_equal(volume.array, array)
    assert volume.name == "T2 axial"
    assert volume.spacing == (3.0, 1.5, 1.0)
    expected = [[-1, 0, 0, -10], [0, -1.5, 0, -10], [0, 0, 3, 10], [0, 0, 0, 1]]
    assert np.allclose(volume.ijk_to_ras, expected)


def test_the_largest_series_counts_and_other_files_do_not(tmp_path):
    write_series(tmp_path / "a", "1.2.9", "scout", shape=(2, 4, 4))
    array = write_series(tmp_path / "a")
    (tmp_path / "a" / "readme.txt").write_text("hello")
    (tmp_path / "a" / "more").mkdir()
    with pytest.warns(FileWarning, match=r"2 DICOM series: 'T2 axial' \(5 images\), 'scout' \(2 images\)"):
        volume = read_volume(tmp_path / "a")
    assert np.array_equal(volume.array, array) and volume.name == "T2 axial"


def test_a_series_without_description_has_the_name_of_the_folder(tmp_path):
    write_series(tmp_path / "patient 7", description="")
    assert read_volume(tmp_path / "patient 7").name == "patient 7"


def test_a_tilted_gantry_keeps_its_true_positions(tmp_path):
    array = write_series(tmp_path / "a", step=(0.0, 0.5, 3.0))
    volume = read_volume(tmp_path / "a")
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.ijk_to_ras[:3, 2], (0.0, -0.5, 3.0))


def test_one_file_is_a_volume_of_one_slice(tmp_path):
    array = write_series(tmp_path / "a", shape=(1, 6, 7))
    with pytest.warns(FileWarning, match="'a' is a single slice"):
        volume = read_volume(tmp_path / "a")
    assert np.array_equal(volume.array, array) and volume.name == "T2 axial"
    (file,) = (tmp_path / "a").iterdir()
    with pytest.warns(FileWarning, match="choose the folder"):
        assert np.array_equal(read_volume(file).array, array)


def test_a_missing_slice_is_found(tmp_path, capfd):
    write_series(tmp_path / "a", skip=2)
    with pytest.raises(GeometryError, match="not evenly spaced"):
        read_volume(tmp_path / "a")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_cut_file_is_found_also_at_the_ends(tmp_path, number, share, capfd):
    """GDCM leaves such a file out without a word, which would shorten the volume."""
    write_series(tmp_path / "a")
    file = tmp_path / "a" / f"1.2.3.4-{number:03d}"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(VolumeError, match="damaged"):
        read_volume(tmp_path / "a")
    assert capfd.readouterr() == ("", "")


def test_slices_of_different_size_are_refused(tmp_path):
    write_series(tmp_path / "a", shape=(2, 6, 7))
    write_series(tmp_path / "b", shape=(5, 8, 7))
    for file in sorted((tmp_path / "b").iterdir())[:3]:
        file.rename(tmp_path / "a" / f"other-{file.name}")
    with pytest.raises(GeometryError, match="differ in size"):
        read_volume(tmp_path / "a")


def test_colour_images_are_refused(tmp_path):
    write_series(tmp_path / "a", color=True)
    with pytest.raises(VolumeError, match="colour"):
        read_volume(tmp_path / "a")


def test_folders_without_dicom_are_refused(tmp_path, capfd):
    with pytest.raises(InputError, match="holds no DICOM images"):
        read_volume(tmp_path)
    (tmp_path / "x.dcm").write_bytes(b"not at all" * 100)
    (tmp_path / "x.nii").write_bytes(b"neither" * 100)
    with pytest.raises(InputError, match="holds no DICOM images"):
        read_volume(tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reader", ["ImageFileReader", "ImageSeriesReader"])
def test_files_that_fail_while_reading_are_one_error(tmp_path, reader, monkeypatch):
    write_series(tmp_path / "a")

    def failing(self):
        raise RuntimeError("several lines\nof C++ noise")

    method = "ReadImageInformation" if reader == "ImageFileReader" else "Execute"
    monkeypatch.setattr(getattr(sitk, reader), method, failing)
    with pytest.raises(VolumeError, match="damaged") as caught:
        read_volume(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_opened_is_refused(tmp_path, monkeypatch):
    write_series(tmp_path / "a")
    (tmp_path / "a" / "readme.txt").write_text("hello")

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(VolumeError, match="locked"):
        read_volume(tmp_path / "a")


def test_files_of_other_series_that_mention_this_one_do_no_harm(tmp_path):
    """A longer UID that begins alike, and a structure set that refers to the series."""
    write_series(tmp_path / "a")
    expected = read_volume(tmp_path / "a").array
    other = b"\x20\x00\x0e\x00UI\x0a\x001.2.3.4.45"
    (tmp_path / "a" / "other").write_bytes(b"\0" * 128 + b"DICM" + other)
    reference = b"1.2.840.10008.5.1.4.1.1.481.3 \x20\x00\x0e\x00UI\x08\x001.2.3.4\x00"
    (tmp_path / "a" / "structures").write_bytes(b"\0" * 128 + b"DICM" + reference)
    assert np.array_equal(read_volume(tmp_path / "a").array, expected)
