"""Bad files: each gives one clear sentence of a typed error, and nothing on the terminal."""

from __future__ import annotations

import os
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from test_volume_files import SHAPE, VOLUME_ENDINGS, geometry, make_volume, write_raw

from qnetseg.errors import GeometryError, InputError, MaskError, OutputError, VolumeError
from qnetseg.volume import LabelMap, read_labelmap, read_volume, write_labelmap, write_volume


def with_nan(value: float) -> np.ndarray:
    array = make_volume().array.copy()
    array[1, 2, 3] = value
    return array


@pytest.mark.parametrize(
    ("array", "vector", "words"),
    [
        (np.zeros((5, 6), np.float32), False, "2-D image of 6x5"),
        (np.zeros((*SHAPE, 3), np.uint8), True, "3 values per voxel"),
        (np.zeros(SHAPE, np.complex64), False, "complex"),
        (with_nan(np.nan), False, "NaN"),
        (with_nan(np.inf), False, "infinite"),
        (with_nan(-np.inf).astype(np.float64), False, "infinite"),  # ITK would make it 0
        (np.full(SHAPE, 3, np.int16), False, "constant"),
    ],
)
def test_unusable_images_are_refused(tmp_path, array, vector, words, capfd):
    path = write_raw(tmp_path / "x.nii.gz", array, vector)
    with pytest.raises(VolumeError, match=words):
        read_volume(path)
    assert capfd.readouterr() == ("", "")


def test_missing_empty_and_foreign_files_are_refused(tmp_path, capfd):
    with pytest.raises(VolumeError, match="does not exist"):
        read_volume(tmp_path / "x.nii")
    for ending in (*VOLUME_ENDINGS, ".mhd"):
        path = tmp_path / f"x{ending}"
        path.write_bytes(b"")
        with pytest.raises(VolumeError, match="empty"):
            read_volume(path)
        path.write_bytes(b"This is a letter, not an image.\n" * 40)
        with pytest.raises(VolumeError, match="damaged"):
            read_volume(path)
    for name in ("x.png", "x.txt", "x"):
        (tmp_path / name).write_bytes(b"\x89PNG and so on" * 40)
        with pytest.raises(VolumeError, match="format"):
            read_volume(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_may_not_be_opened_is_refused(tmp_path, monkeypatch):
    path = write_raw(tmp_path / "x.nrrd", make_volume().array)

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(VolumeError, match="Permission denied"):
        read_volume(path)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("Failed to allocate memory for image.")])
def test_memory_that_runs_out_is_not_called_damage(tmp_path, monkeypatch, error):
    def too_large(path, reader):
        raise error

    path = tmp_path / "scan.nrrd"
    write_volume(path, make_volume())
    monkeypatch.setattr("qnetseg.volume.itk.require_whole", too_large)
    with pytest.raises(VolumeError, match=r"not enough memory to read 'scan\.nrrd'"):
        read_volume(path)


@pytest.mark.parametrize("ending", [*VOLUME_ENDINGS, ".seg.nrrd"])
def test_a_file_cut_anywhere_is_refused_in_silence(tmp_path, ending, capfd):
    """ITK alone reads a cut NIfTI as zeros."""
    path = tmp_path / f"x{ending}"
    shape = (6, 20, 25)
    if ending == ".seg.nrrd":
        array = np.random.default_rng(0).integers(0, 3, shape).astype(np.int32)
        write_labelmap(path, LabelMap(array, geometry(), ()))
    else:
        write_volume(path, make_volume(shape=shape))
    whole = path.read_bytes()
    for place in {*np.random.default_rng(1).integers(1, len(whole), 25).tolist(), len(whole) - 1}:
        path.write_bytes(whole[:place])
        with pytest.raises(InputError) as caught:
            (read_labelmap if ending == ".seg.nrrd" else read_volume)(path)
        assert "damaged" in caught.value.message, place
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_a_turned_byte_in_compressed_data_is_found(tmp_path, ending, capfd):
    path = tmp_path / f"x{ending}"
    write_volume(path, make_volume(shape=(6, 20, 25)))
    whole = path.read_bytes()
    for place in np.random.default_rng(2).integers(len(whole) // 2, len(whole) - 20, 25):
        turned = bytearray(whole)
        turned[place] ^= 0xFF
        path.write_bytes(turned)
        with pytest.raises(VolumeError):
            read_volume(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_missing_or_cut_data_beside_a_header_is_refused(tmp_path, ending, capfd):
    header = write_raw(tmp_path / f"x{ending}", make_volume().array)
    data = tmp_path / "x.raw"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(VolumeError, match="damaged"):
        read_volume(header)
    data.unlink()
    with pytest.raises(VolumeError, match="damaged"):
        read_volume(header)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"DimSize = 6 5 4\n", b""),
        (b"DimSize = 6 5 4", b"DimSize = 6 5 0"),
        (b"DimSize = 6 5 4", b"DimSize = 6 five 4"),
        (b"NDims = 3", b"NDims = 99"),  # which ends the process in MetaIO
        (b"NDims = 3", b"NDims = 0"),
        (b"DimSize = 6 5 4", b"DimSize = 6 5 4\nHeaderSize = 40"),  # of which MetaIO makes voxels
        (b"MET_FLOAT", b"MET_NOTHING"),
    ],
)
def test_metaimage_headers_that_make_no_sense_are_refused(tmp_path, old, new, capfd):
    path = write_raw(tmp_path / "x.mha", make_volume().array)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(VolumeError, match="damaged"):
        read_volume(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [b"CompressedDataSize = 10\n", b""])
def test_compressed_metaimages_hold_what_they_say(tmp_path, size, capfd):
    """MetaIO inflates what the header names, and leaves the rest as the memory was."""
    write_volume(tmp_path / "x.mha", make_volume())
    content = (tmp_path / "x.mha").read_bytes()
    (tmp_path / "x.mha").write_bytes(re.sub(rb"CompressedDataSize = \d+\n", size, content))
    with pytest.raises(VolumeError, match="damaged"):
        read_volume(tmp_path / "x.mha")
    assert capfd.readouterr() == ("", "")


def patched_nifti(path: Path, **fields: tuple[int, str, tuple[float, ...]]) -> Path:
    write_volume(path, make_volume(np.diag([1.0, 1.0, 2.0, 1.0])))
    content = bytearray(path.read_bytes())
    for offset, kind, values in fields.values():
        struct.pack_into(kind, content, offset, *values)
    path.write_bytes(content)
    return path


MATRIX_ONLY = (252, "<2h", (0, 1))


def placed_by(*rows: float) -> dict[str, tuple]:
    """Header fields of a NIfTI that is placed by this 3x4 matrix alone."""
    return {"code": MATRIX_ONLY, "matrix": (280, f"<{len(rows)}f", rows)}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (placed_by(1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 3, 0), GeometryError),  # singular
        (placed_by(*[0] * 12), GeometryError),
        (placed_by(1, 0.3, 0, 0, 0, 1, 0, 0, 0, 0, 3, 0), GeometryError),  # sheared
        (placed_by(np.nan), VolumeError),
        ({"code": (252, "<2h", (1, 0)), "quaternion": (256, "<f", (np.nan,))}, VolumeError),
        ({"dimensions": (40, "<h", (0,))}, VolumeError),
        ({"dimensions": (42, "<h", (-6,))}, VolumeError),
        ({"offset": (108, "<f", (np.inf,))}, VolumeError),
        ({"size": (0, "<i", (540,))}, VolumeError),
    ],
)
def test_nifti_headers_that_make_no_sense_are_refused(tmp_path, fields, error, capfd):
    path = patched_nifti(tmp_path / "x.nii", **fields)
    with pytest.raises(error, match=r"'x\.nii'"):
        read_volume(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "directions", ["(1,0,0) (1,0,0) (0,0,3)", "(0,0,0) (0,1,0) (0,0,3)", "(nan,0,0) (0,1,0) (0,0,3)"]
)
def test_nrrd_directions_that_make_no_sense_are_refused(tmp_path, directions, capfd):
    header = (
        "NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: 6 5 4\n"
        f"space directions: {directions}\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    )
    (tmp_path / "x.nrrd").write_bytes(header.encode() + make_volume().array.tobytes())
    with pytest.raises(InputError, match=r"'x\.nrrd'"):
        read_volume(tmp_path / "x.nrrd")
    assert capfd.readouterr() == ("", "")


def test_label_files_must_hold_whole_numbers(tmp_path):
    for value, words in (
        (0.5, "whole numbers"),
        (np.nan, "whole numbers"),
        (np.inf, "whole numbers"),
        (1e12, "32"),
    ):
        path = write_raw(tmp_path / "x.nrrd", np.where(np.arange(120).reshape(SHAPE) == 7, value, 1.0))
        with pytest.raises(MaskError, match=words):
            read_labelmap(path)
    for ending in VOLUME_ENDINGS[:2]:
        with pytest.raises(InputError, match="NaN"):
            read_labelmap(write_raw(tmp_path / f"x{ending}", with_nan(np.nan)))
    path = write_raw(tmp_path / "x.nrrd", np.full(SHAPE, 2**40))
    with pytest.raises(MaskError, match="32 bits"):
        read_labelmap(path)


def test_label_files_that_are_no_label_images(tmp_path):
    path = write_raw(tmp_path / "x.nrrd", np.ones((*SHAPE, 3), np.uint8), vector=True)
    with pytest.raises(InputError, match="not a label image"):
        read_labelmap(path)
    with pytest.raises(InputError, match="folder"):
        read_labelmap(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_labelmap(tmp_path / "y.nrrd")


def metaimage(folder: Path, data: str) -> Path:
    """A header that names its data file so, with that file beside it."""
    header = write_raw(folder / "x.mhd", make_volume().array)
    (folder / data.split(" 0 ")[0]).write_bytes((folder / "x.raw").read_bytes())
    header.write_text(header.read_text().replace("x.raw", data))
    return header


@pytest.mark.parametrize(
    "data",
    [
        *("Dias 77 % v.raw", "s(%Max=5).raw", "x%.raw", "x%n.raw", "x%s.raw", "x%%.raw"),
        *("x%d%n.raw 0 3 1", "%999999d.raw 0 3 1", "x%d.raw 0 3 0", "x%d y%d.raw 0 3 1"),
        *("x%d.raw 0 3", "x%d.raw 0 99999999999 1"),  # a step of 0; a last number that does not fit
    ],
)
def test_a_percent_sign_in_the_name_of_a_metaimages_data_is_refused(tmp_path, data, capfd):
    """MetaIO takes the name for a format of printf: it ends the process, or reads one slice many times."""
    for read, error in ((read_volume, VolumeError), (read_labelmap, InputError)):
        with pytest.raises(error, match=r"names its data file .* Rename"):
            read(metaimage(tmp_path, data))
    assert capfd.readouterr() == ("", "")


def test_a_percent_sign_elsewhere_does_no_harm(tmp_path):
    folder = tmp_path / "77 %n"
    folder.mkdir()
    for name in ("a%s.mha", "b %d.nrrd", "c 5 %.nii.gz"):
        write_volume(folder / name, make_volume())
        assert np.array_equal(read_volume(folder / name).array, make_volume().array)
    header = write_raw(tmp_path / "x.nhdr", make_volume().array)
    (tmp_path / "x.raw").rename(tmp_path / "77 % x.raw")
    header.write_text(header.read_text().replace("x.raw", "77 % x.raw"))
    assert np.array_equal(read_volume(header).array, make_volume().array)
    for name in ("x%n%d.raw 0 3 1", "%999999999d.raw 0 3 1"):
        other = tmp_path / "y.nhdr"
        other.write_text(header.read_text().replace("77 % x.raw", name))
        with pytest.raises(VolumeError, match="names its data file"):
            read_volume(other)


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("name", ["LIST", "LIST 2D", "x%d.raw 0 {last} 1", "x%d.raw 0", "LIST 3"])
def test_a_metaimage_of_many_files_needs_one_for_each_slice(tmp_path, name, many, capfd):
    """MetaIO takes fewer without a word, and gives what the memory held instead of the other slices."""
    header = write_raw(tmp_path / "x.mhd", make_volume().array)
    count = SHAPE[0] if many else SHAPE[0] - 1
    slices = [f"x{number}.raw" for number in range(count)]
    for slice_name, values in zip(slices, make_volume().array, strict=False):
        (tmp_path / slice_name).write_bytes(values.tobytes())
    text = header.read_text().replace("x.raw", name.format(last=count - 1))
    header.write_text(text + "".join(f"{one}\n" for one in slices if name.startswith("LIST")))
    if many and name != "LIST 3":  # which is one file for everything
        assert np.array_equal(read_volume(header).array, make_volume().array)
    else:
        with pytest.raises(VolumeError, match="damaged"):
            read_volume(header)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has only Unicode names")
@pytest.mark.parametrize("ending", [*VOLUME_ENDINGS, ".seg.nrrd", ".mhd"])
def test_names_that_are_not_text_are_refused(tmp_path, ending):
    """ITK ends the process on them."""
    name = os.fsdecode(b"Leber \xfc" + ending.encode())
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    for path in (tmp_path / name, folder / f"x{ending}"):
        write_raw(tmp_path / f"y{ending}", make_volume().array).rename(path)
        for read in (read_volume, read_labelmap):
            with pytest.raises(InputError, match="another encoding than UTF-8") as caught:
                read(path)
            str(caught.value).encode()
        if ending in VOLUME_ENDINGS:
            with pytest.raises(OutputError, match="another encoding"):
                write_volume(path, make_volume())


@pytest.mark.parametrize("name", ["n" * 300 + ".nii", "a\0b.nii"])
def test_names_that_no_file_can_have_are_refused(tmp_path, name):
    for read in (read_volume, read_labelmap):
        with pytest.raises(InputError):
            read(tmp_path / name)
    with pytest.raises(OutputError):
        write_volume(tmp_path / name, make_volume())


def test_metaimages_with_odd_headers_are_read(tmp_path):
    """Text instead of bytes, another word for true."""
    array = np.arange(120, dtype=np.float32).reshape(SHAPE)
    header = write_raw(tmp_path / "x.mhd", array).read_text()
    path = tmp_path / "x.mha"
    header = header.replace("BinaryData = True", "BinaryData = False").replace("x.raw", "LOCAL")
    path.write_text(header + " ".join(str(int(value)) for value in array.ravel()) + "\n")
    assert np.array_equal(read_volume(path).array, array)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "z.mha"), useCompression=True)
    content = (tmp_path / "z.mha").read_bytes()
    assert b"CompressedData = True" in content
    (tmp_path / "z.mha").write_bytes(content.replace(b"CompressedData = True", b"CompressedData = 1   "))
    assert np.array_equal(read_volume(tmp_path / "z.mha").array, array)


@pytest.mark.parametrize(
    "image",
    [
        np.random.default_rng(0).integers(0, 300, (4, 20, 20)),
        np.random.default_rng(0).integers(0, 20, (4, 20, 20)),
        np.where(
            np.indices((4, 20, 20))[1] < 10, -1024, np.random.default_rng(0).normal(60, 20, (4, 20, 20))
        ),
        np.indices((4, 20, 20)).sum(axis=0),
        np.arange(1600).reshape(4, 20, 20),
    ],
)
def test_an_image_given_as_drawing_is_refused(tmp_path, image):
    path = write_raw(tmp_path / "x.nrrd", image.astype(np.int16))
    for chosen in (None, "60"):
        with pytest.raises(MaskError, match=r"'x\.nrrd' has \d+ different values: it looks like an image"):
            read_labelmap(path, chosen, drawn=True)
    assert read_labelmap(path).array.shape == image.shape


def test_many_labels_are_no_image(tmp_path):
    labels = (np.indices((12, 30, 30)) // 3 * [[[[100]]], [[[10]]], [[[1]]]]).sum(axis=0).astype(np.int16)
    assert len(np.unique(labels)) == 400
    path = write_raw(tmp_path / "x.nrrd", labels)
    assert len(read_labelmap(path, drawn=True).segments) == 399


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.nrrd")
    with pytest.raises(VolumeError, match="does not exist"):
        read_volume(tmp_path / "x.nrrd")
    for ending in (".mhd", ".nhdr"):
        header = write_raw(tmp_path / f"{ending[1:]}{ending}", make_volume().array)
        data = tmp_path / f"{ending[1:]}.raw"
        data.unlink()
        os.mkfifo(data)
        with pytest.raises(VolumeError, match="damaged"):
            read_volume(header)
    with pytest.raises(InputError, match="is not a file, but a pipe"):
        read_volume(tmp_path)
