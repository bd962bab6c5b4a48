"""Image files: exact round trips, one clear error for every bad file, writes that are whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from qnetseg.errors import GeometryError, OutputError, VolumeError
from qnetseg.volume import (
    LabelMap,
    SegmentInfo,
    Volume,
    read_labelmap,
    read_volume,
    write_labelmap,
    write_volume,
)

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
LABEL_ENDINGS = (*VOLUME_ENDINGS, ".seg.nrrd")
SHAPE = (4, 5, 6)


def geometry(degrees: float = 0.0, left_handed: bool = False) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, -1 if left_handed else 1]]) @ np.array(
        [[1, 0, 0], [0, c, -s], [0, s, c]]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array([0.9, 1.1, 4.0])
    matrix[:3, 3] = (-17.25, 44.0, 3.5)
    return matrix


def make_volume(matrix: np.ndarray | None = None, shape=SHAPE) -> Volume:
    array = np.random.default_rng(5).normal(50, 20, shape).astype(np.float32)
    return Volume(array, geometry() if matrix is None else matrix, "v")


def write_raw(path: Path, array: np.ndarray, vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path))
    return path


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
@given(degrees=st.floats(-180, 180), left_handed=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=12)
def test_volumes_come_back_bit_for_bit(tmp_path_factory, ending, degrees, left_handed, seed):
    path = tmp_path_factory.mktemp("files") / f"Bauch ä {ending}"
    matrix = geometry(degrees, left_handed)
    shape = tuple(np.random.default_rng(seed).integers((1, 1, 2), 8))  # one voxel alone would be constant
    write_volume(path, make_volume(matrix, shape))
    found = read_volume(path)
    assert found.array.tobytes() == make_volume(matrix, shape).array.tobytes()
    assert np.allclose(found.ijk_to_ras, matrix, atol=1e-4)  # NIfTI stores float32
    assert found.name == "Bauch ä "


@pytest.mark.parametrize("ending", LABEL_ENDINGS)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=4), st.integers(0, 99))
@settings(max_examples=12)
def test_labels_come_back_exactly(tmp_path_factory, ending, labels, seed):
    path = tmp_path_factory.mktemp("files") / f"x{ending}"
    array = np.random.default_rng(seed).choice([0, *labels], SHAPE).astype(np.int32)
    write_labelmap(path, LabelMap(array, geometry(20, True), ()))
    found = read_labelmap(path)
    assert found.array.dtype == np.int32 and np.array_equal(found.array, array)
    assert [segment.label for segment in found.segments] == sorted(set(array[array != 0].tolist()))
    assert np.allclose(found.ijk_to_ras, geometry(20, True), atol=1e-4)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_every_stored_type_is_read_as_float32(tmp_path, dtype):
    array = np.arange(120).reshape(SHAPE).astype(dtype)
    found = read_volume(write_raw(tmp_path / "x.nrrd", array))
    assert found.array.dtype == np.float32 and np.array_equal(found.array, array)
    labels = read_labelmap(tmp_path / "x.nrrd")
    assert labels.array.dtype == np.int32 and np.array_equal(labels.array, array)


@pytest.mark.parametrize("ending", [".mhd", ".nhdr", ".NII", ".NII.GZ", ".MHA"])
def test_split_and_capital_names_are_read(tmp_path, ending):
    write_raw(tmp_path / f"x{ending.lower()}", make_volume().array)
    (tmp_path / f"x{ending.lower()}").rename(tmp_path / f"x{ending}")
    assert np.array_equal(read_volume(tmp_path / f"x{ending}").array, make_volume().array)


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_a_series_of_one_time_point_is_a_volume(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    one = sitk.GetImageFromArray(make_volume().array)
    sitk.WriteImage(sitk.JoinSeries([one]), str(path))
    assert np.array_equal(read_volume(path).array, make_volume().array)
    sitk.WriteImage(sitk.JoinSeries([one, one]), str(path))
    with pytest.raises(VolumeError, match="4-D image of 6x5x4x2"):
        read_volume(path)


def test_an_nrrd_header_may_have_its_data_elsewhere(tmp_path):
    write_raw(tmp_path / "x.nhdr", make_volume().array)
    (tmp_path / "x.nhdr").rename(tmp_path / "x.nrrd")
    assert np.array_equal(read_volume(tmp_path / "x.nrrd").array, make_volume().array)


def test_a_metaimage_with_a_file_per_slice_is_read(tmp_path):
    array = make_volume().array
    header = write_raw(tmp_path / "x.mhd", array)
    for number, part in enumerate(array):
        (tmp_path / f"slice{number}.raw").write_bytes(part.tobytes())
    listed = "LIST\n" + "".join(f"slice{number}.raw\n" for number in range(len(array)))
    for data in (listed, f"slice%d.raw 0 {len(array) - 1} 1"):
        header.write_text(header.read_text().split("ElementDataFile")[0] + f"ElementDataFile = {data}")
        assert np.array_equal(read_volume(header).array, array)


def test_sheared_axes_are_kept_where_the_format_can(tmp_path):
    sheared = geometry()
    sheared[0, 1] = 0.4
    for ending in (".nrrd", ".mha"):
        write_volume(tmp_path / f"x{ending}", make_volume(sheared))
        assert np.allclose(read_volume(tmp_path / f"x{ending}").ijk_to_ras, sheared)
    for ending in (".nii", ".nii.gz"):
        with pytest.raises(OutputError, match="not perpendicular"):
            write_volume(tmp_path / f"x{ending}", make_volume(sheared))


def test_what_cannot_be_written_is_refused(tmp_path):
    labels = LabelMap(np.ones(SHAPE, np.int32), geometry(), (SegmentInfo(1, "a", (1, 0, 0)),))
    for name in ("x", "x.png", "x.mhd", "x.dcm"):
        with pytest.raises(OutputError, match=r"Use one of \.seg\.nrrd"):
            write_labelmap(tmp_path / name, labels)
    with pytest.raises(OutputError, match="name of a segmentation"):
        write_volume(tmp_path / "x.seg.nrrd", make_volume())
    for array in (np.ones(SHAPE, np.float32), np.ones((2, 2), np.int32)):
        with pytest.raises(OutputError, match="whole numbers"):
            write_labelmap(tmp_path / "x.nrrd", LabelMap(array, geometry(), ()))
    with pytest.raises(GeometryError, match="singular"):
        write_volume(tmp_path / "x.nrrd", make_volume(np.diag([1.0, 1.0, 1.0, 1.0])[:, [0, 0, 2, 3]]))
    assert os.listdir(tmp_path) == []


def test_folders_that_cannot_take_a_file(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_volume(tmp_path / "nowhere" / "x.nrrd", make_volume())
    (tmp_path / "x.nrrd").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_volume(tmp_path / "x.nrrd", make_volume())


def old_and_labels(tmp_path: Path, ending: str) -> tuple[Path, LabelMap]:
    path = tmp_path / f"x{ending}"
    path.write_bytes(b"the old file")
    array = np.random.default_rng(0).integers(0, 200, (8, 30, 40)).astype(np.int32)
    return path, LabelMap(array, geometry(), ())


def require_old(path: Path) -> None:
    assert path.read_bytes() == b"the old file"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("ending", LABEL_ENDINGS)
def test_a_writer_that_cuts_the_file_is_found_out(tmp_path, ending, monkeypatch):
    path, labels = old_and_labels(tmp_path, ending)
    write = sitk.WriteImage

    def cutting(image, name, **options):
        write(image, name, **options)
        os.truncate(name, os.path.getsize(name) // 2)

    monkeypatch.setattr(sitk, "WriteImage", cutting)
    with pytest.raises(OutputError, match="incomplete"):
        write_labelmap(path, labels)
    require_old(path)


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")]
)
def test_a_failing_move_leaves_the_old_file(tmp_path, failure, monkeypatch):
    path, labels = old_and_labels(tmp_path, ".nrrd")

    def failing(*args):
        raise failure

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OutputError, match=failure.strerror):
        write_labelmap(path, labels)
    require_old(path)


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    path, labels = old_and_labels(tmp_path, ".nrrd")
    write = sitk.WriteImage

    def interrupted(*args, **options):
        write(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(sitk, "WriteImage", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_labelmap(path, labels)
    require_old(path)


@pytest.mark.parametrize("ending", LABEL_ENDINGS)
@pytest.mark.parametrize("limit", [0, 3000])
def test_a_really_full_disk(tmp_path, ending, limit):
    """The system refuses to let files grow, as on a full disk; NIfTI's writer does not notice by itself."""
    resource = pytest.importorskip("resource", reason="file size limits exist on POSIX systems only")
    path, labels = old_and_labels(tmp_path, ending)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OutputError, match="incomplete"):
            write_labelmap(path, labels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    require_old(path)


def test_writing_replaces_the_old_file(tmp_path):
    path, labels = old_and_labels(tmp_path, ".nii.gz")
    write_labelmap(path, labels)
    assert np.array_equal(read_labelmap(path).array, labels.array)
    assert os.listdir(tmp_path) == [path.name]


def test_the_development_data_are_read(development_data):
    """Left-handed, oblique files of 64-bit floats."""
    for folder, label in (("CMR/cmr_MR_normalized", 200), ("CHAOST2/chaos_MR_T2_normalized", 1)):
        image = min((development_data / folder).glob("image_*.nii.gz"))
        volume = read_volume(image)
        labels = read_labelmap(image.with_name(image.name.replace("image", "label")))
        assert labels.array.shape == volume.shape and label in [part.label for part in labels.segments]
