"""NIfTI files whose header states two positions, or none, and headers that are odd but can be read."""

from __future__ import annotations

import gzip
import struct
import warnings

import nibabel
import numpy as np
import pytest

from qnetseg.errors import FileWarning, GeometryError, VolumeError
from qnetseg.volume import (
    LabelMap,
    Volume,
    on_grid_of,
    read_labelmap,
    read_volume,
    write_labelmap,
    write_volume,
)
from qnetseg.volume.nifti import same_place

SHAPE = (4, 5, 6)  # (K, J, I)
IMAGE = np.random.default_rng(0).integers(0, 900, SHAPE[::-1]).astype(np.int16)
MASK = (IMAGE > 450).astype(np.uint8)
SCANNER = np.array([[2.0, 0, 0, -9], [0, 2.0, 0, 7], [0, 0, 5.0, 30], [0, 0, 0, 1]])
REGISTERED = np.array([[2.0, 0, 0, 6], [0, 0, -5.0, 3], [0, 2.0, 0, 1], [0, 0, 0, 1]])
SHIFTED = SCANNER + np.array([[0, 0, 0, 15.0], [0, 0, 0, -22], [0, 0, 0, 9], [0, 0, 0, 0]])


def save(path, qform, sform, codes, array=IMAGE):
    image = nibabel.Nifti1Image(array, None)
    image.header.set_zooms((2.0, 2.0, 5.0))
    image.set_qform(qform, codes[0])
    image.set_sform(sform, codes[1])
    nibabel.save(image, path)
    return path


pytestmark = pytest.mark.filterwarnings("ignore:.*position")

TWO = [
    (SCANNER, SHIFTED, (1, 2)),
    (SCANNER, SHIFTED, (1, 1)),
    (SCANNER, REGISTERED, (1, 4)),
    (SHIFTED, SCANNER, (2, 3)),
    (None, None, (0, 0)),
]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("qform", "sform", "codes"), TWO)
def test_results_keep_both_positions_and_masks_on_either_are_accepted(tmp_path, qform, sform, codes, ending):
    path = save(tmp_path / f"x{ending}", qform, sform, codes)
    with pytest.warns(FileWarning, match="no position" if codes == (0, 0) else "two positions"):
        volume = read_volume(path)
    header = nibabel.load(path).header
    write_labelmap(tmp_path / "own.nii.gz", LabelMap(np.ones(SHAPE, np.int32), volume.ijk_to_ras, ()))
    affines = [nibabel.load(path).affine, nibabel.load(tmp_path / "own.nii.gz").affine]
    if codes != (0, 0):
        affines += [qform, sform]
    for affine in affines:
        nibabel.save(nibabel.Nifti1Image(MASK, affine), tmp_path / "m.nii")
        mask = read_labelmap(tmp_path / "m.nii")
        placed = on_grid_of(mask, volume, crop=False)
        assert np.array_equal(placed.array, MASK.T)
        write_labelmap(tmp_path / f"o{ending}", placed)
        write_volume(tmp_path / f"c{ending}", Volume(volume.array, volume.ijk_to_ras, "", volume.placement))
        for name in ("o", "c"):
            found = nibabel.load(tmp_path / f"{name}{ending}")
            for field in ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
                assert np.allclose(found.header[field], header[field]), field
            assert np.allclose(found.affine, nibabel.load(path).affine)


@pytest.mark.parametrize(("qform", "sform", "codes"), TWO)
def test_a_mask_with_two_positions_is_accepted_on_a_volume_with_one_of_them(tmp_path, qform, sform, codes):
    mask = read_labelmap(save(tmp_path / "m.nii", qform, sform, codes, MASK))
    for affine in [one for one in (qform, sform) if one is not None]:
        nibabel.save(nibabel.Nifti1Image(IMAGE, affine), tmp_path / "x.nii")
        placed = on_grid_of(mask, read_volume(tmp_path / "x.nii"), crop=False)
        assert np.array_equal(placed.array, MASK.T) and placed.placement is None


def test_a_mask_elsewhere_is_still_refused(tmp_path):
    volume = read_volume(save(tmp_path / "x.nii", SCANNER, SHIFTED, (1, 2)))
    elsewhere = SCANNER.copy()
    elsewhere[0, 3] += 4
    nibabel.save(nibabel.Nifti1Image(MASK, elsewhere), tmp_path / "m.nii")
    with pytest.raises(GeometryError, match="voxels beside"):
        on_grid_of(read_labelmap(tmp_path / "m.nii"), volume, crop=False)


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 2), (2, 4)])
def test_one_position_is_no_news(tmp_path, codes):
    path = save(tmp_path / "x.nii.gz", SCANNER, SCANNER, codes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = read_volume(path)
    assert volume.placement is None and same_place(volume.ijk_to_ras, SCANNER, SHAPE)


def test_a_result_that_was_moved_is_written_where_it_is(tmp_path):
    volume = read_volume(save(tmp_path / "x.nii", SCANNER, SHIFTED, (1, 2)))
    moved = volume.ijk_to_ras + np.eye(4, k=3)
    write_labelmap(tmp_path / "o.nii", LabelMap(MASK.T.astype(np.int32), moved, (), volume.placement))
    assert np.allclose(nibabel.load(tmp_path / "o.nii").affine, moved)


def patched(content: bytes, *fields) -> bytes:
    changed = bytearray(content)
    for offset, layout, *values in fields:
        struct.pack_into(f"<{layout}", changed, offset, *values)
    return bytes(changed)


@pytest.mark.parametrize(
    "field",
    [
        (72, "h", 0),  # bits of a voxel
        (48, "h", 0),  # time points
        (256, "f", float("nan")),  # the quaternion, beside a good matrix with another code
        (112, "f", float("nan")),  # the slope
    ],
)
def test_odd_headers_that_itk_reads_are_read(tmp_path, field):
    path = save(tmp_path / "x.nii", SCANNER, SCANNER, (0, 2))
    path.write_bytes(patched(path.read_bytes(), (40, "h", 4), field))
    assert np.array_equal(read_volume(path).array, IMAGE.T)


def test_compressed_or_not_is_seen_in_the_file(tmp_path):
    content = save(tmp_path / "x.nii", SCANNER, SCANNER, (1, 1)).read_bytes()
    (tmp_path / "plain.nii.gz").write_bytes(content)
    assert np.array_equal(read_volume(tmp_path / "plain.nii.gz").array, IMAGE.T)
    (tmp_path / "more.nii.gz").write_bytes(gzip.compress(content) + b"left by a broken copy")
    with pytest.warns(FileWarning, match="behind its compressed data"):
        volume = read_volume(tmp_path / "more.nii.gz")
    assert np.array_equal(volume.array, IMAGE.T)


def test_voxels_that_would_begin_within_the_header_are_refused(tmp_path):
    path = save(tmp_path / "x.nii", SCANNER, SCANNER, (1, 1))
    path.write_bytes(patched(path.read_bytes(), (108, "f", 0.0)))
    with pytest.raises(VolumeError, match="damaged"):
        read_volume(path)


@pytest.mark.parametrize(("unit", "factor"), [("micron", 0.001), ("meter", 1000.0)])
def test_units_are_heeded_kept_and_masks_that_ignore_them_are_accepted(tmp_path, unit, factor):
    image = nibabel.Nifti1Image(IMAGE, SCANNER)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "x.nii.gz")
    with pytest.warns(FileWarning, match="in another unit than mm"):
        volume = read_volume(tmp_path / "x.nii.gz")
    assert np.allclose(volume.ijk_to_ras[:3], SCANNER[:3] * factor)
    nibabel.save(nibabel.Nifti1Image(MASK, SCANNER), tmp_path / "m.nii")
    placed = on_grid_of(read_labelmap(tmp_path / "m.nii"), volume, crop=False)
    write_labelmap(tmp_path / "o.nii.gz", placed)
    assert np.allclose(read_labelmap(tmp_path / "o.nii.gz").ijk_to_ras, volume.ijk_to_ras)
    assert np.allclose(nibabel.load(tmp_path / "o.nii.gz").affine, SCANNER)
