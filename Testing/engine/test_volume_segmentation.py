"""Slicer's .seg.nrrd files, and label maps brought onto a volume's grid without interpolation."""

from __future__ import annotations

import gzip
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnetseg.errors import FileWarning, GeometryError, InputError, MaskError
from qnetseg.volume import (
    LabelMap,
    SegmentInfo,
    Volume,
    on_grid_of,
    read_labelmap,
    write_labelmap,
)

SHAPE = (4, 5, 6)
MATRIX = np.array([[-0.9, 0.1, 0.0, 5.0], [0.1, -1.2, 0.2, -7.0], [0.0, 0.2, 3.0, 9.0], [0, 0, 0, 1.0]])
LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)


def labels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([0, 0, 1, 7], SHAPE).astype(np.int32)


SEGMENTS = (SegmentInfo(1, "Leber ä", (0.2, 0.4, 1.0), LIVER), SegmentInfo(7, "b | c", (1.0, 0.0, 0.5)))


def write_header(path, array: np.ndarray, entries: dict[str, str]) -> None:
    """A .seg.nrrd as Slicer lays it out; array (K, J, I) or (K, J, I, layers) uint8."""
    layers = array.ndim == 4
    sizes = " ".join(map(str, array.shape[2::-1]))
    directions = "(0.9,-0.1,0) (-0.1,1.2,0.2) (0,-0.2,3)"
    lines = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {array.ndim}",
        "space: left-posterior-superior",
        f"sizes: {array.shape[3]} {sizes}" if layers else f"sizes: {sizes}",
        f"space directions: {'none ' if layers else ''}{directions}",
        f"kinds: {'list ' if layers else ''}domain domain domain",
        "encoding: gzip",
        "space origin: (-5,7,9)",
        *(f"{key}:={value}" for key, value in entries.items()),
    ]
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + gzip.compress(array.tobytes()))


def entries_of(number: int, name: str, label: int | None = None, layer: int | None = None) -> dict[str, str]:
    entries = {
        "ID": f"Segment_{number}",
        "Name": name,
        "Color": "0.1 0.2 0.3",
        "Tags": f"a:b|TerminologyEntry:{LIVER}|",
    }
    if label is not None:
        entries |= {"LabelValue": str(label), "Layer": str(layer)}
    return {f"Segment{number}_{key}": value for key, value in entries.items()}


def test_a_segmentation_keeps_names_colours_and_terminology(tmp_path):
    path = tmp_path / "x.seg.nrrd"
    write_labelmap(path, LabelMap(labels(), MATRIX, SEGMENTS))
    found = read_labelmap(path)
    assert np.array_equal(found.array, labels()) and found.segments == SEGMENTS
    assert np.allclose(found.ijk_to_ras, MATRIX)


def test_the_header_is_what_slicer_expects(tmp_path):
    path = tmp_path / "x.seg.nrrd"
    array = np.zeros(SHAPE, np.int32)
    array[1:3, 2, 4:6] = 7
    write_labelmap(path, LabelMap(array, MATRIX, SEGMENTS))
    header = path.read_bytes().split(b"\n\n")[0].decode()
    for line in (
        "type: unsigned char",
        "encoding: gzip",
        "Segment0_Extent:=0 -1 0 -1 0 -1",
        "Segment1_Extent:=4 5 2 2 1 2",
        "Segment1_ID:=Segment_2",
        "Segment1_LabelValue:=7",
        "Segment1_Layer:=0",
        "Segment1_Color:=1 0 0.5",
        f"Segment0_Tags:=Segmentation.Status:completed|TerminologyEntry:{LIVER}|",
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ):
        assert line in header.splitlines()
    assert ";0;5;0;4;0;3;|&" in header  # the whole grid as the reference geometry


def test_a_name_of_several_lines_does_not_break_the_header(tmp_path):
    path = tmp_path / "x.seg.nrrd"
    write_labelmap(path, LabelMap(labels(), MATRIX, (SegmentInfo(1, "one\n\ntwo", (1, 0, 0)),)))
    assert read_labelmap(path).segments[0].name == "one two"


def test_labels_without_description_get_one(tmp_path):
    write_labelmap(tmp_path / "x.nrrd", LabelMap(labels(), MATRIX, SEGMENTS))
    first, second = read_labelmap(tmp_path / "x.nrrd").segments
    assert (first.label, first.name, second.label, second.name) == (1, "label 1", 7, "label 7")
    assert first.color != second.color and all(0 <= part <= 1 for part in first.color + second.color)
    write_labelmap(tmp_path / "x.seg.nrrd", LabelMap(labels(), MATRIX, SEGMENTS[:1]))
    assert [part.name for part in read_labelmap(tmp_path / "x.seg.nrrd").segments] == ["Leber ä", "label 7"]


def two_layers() -> np.ndarray:
    array = np.zeros((*SHAPE, 2), np.uint8)
    array[0:2, 1:4, 1:4, 0] = 1
    array[3, :, :, 0] = 2
    array[2, 1:4, 1:4, 1] = 1
    return array


def test_layers_become_one_label_map(tmp_path):
    path, array = tmp_path / "x.seg.nrrd", two_layers()
    entries = entries_of(0, "liver", 1, 0) | entries_of(1, "spleen", 1, 1) | entries_of(2, "bone", 2, 0)
    write_header(path, array, entries)
    found = read_labelmap(path)
    assert [(part.label, part.name) for part in found.segments] == [(1, "liver"), (3, "spleen"), (2, "bone")]
    assert np.array_equal(found.array == 1, array[..., 0] == 1)
    assert np.array_equal(found.array == 3, array[..., 1] == 1)
    assert np.array_equal(found.array == 2, array[..., 0] == 2)
    assert np.allclose(found.ijk_to_ras, MATRIX)
    assert found.segments[0].terminology == LIVER and found.segments[0].color == (0.1, 0.2, 0.3)


def test_overlapping_segments_are_read_one_by_one(tmp_path):
    path, array = tmp_path / "x.seg.nrrd", two_layers()
    array[1, 2, 2, 1] = 1
    write_header(path, array, entries_of(0, "liver", 1, 0) | entries_of(1, "tumour", 1, 1))
    with pytest.raises(MaskError, match="'tumour' overlaps"):
        read_labelmap(path)
    for layer, name in enumerate(("liver", "tumour")):
        found = read_labelmap(path, name)
        assert np.array_equal(found.array, array[..., layer] == 1)
        assert [part.name for part in found.segments] == [name]


def test_files_before_label_values_have_a_segment_per_layer(tmp_path):
    path, array = tmp_path / "x.seg.nrrd", np.minimum(two_layers(), 1)
    write_header(path, array, entries_of(0, "liver") | entries_of(1, "spleen"))
    found = read_labelmap(path)
    for layer, part in enumerate(found.segments):
        assert np.array_equal(found.array == part.label, array[..., layer] == 1)


def test_one_segment_is_chosen_by_name_or_label(tmp_path):
    path = tmp_path / "x.seg.nrrd"
    segments = (*SEGMENTS, SegmentInfo(9, "7", (0, 0, 1)))
    array = labels()
    array[0, 0, :] = 9
    write_labelmap(path, LabelMap(array, MATRIX, segments))
    for chosen, label in (("Leber ä", 1), (1, 1), ("1", 1), ("b | c", 7), (7, 7), ("9", 9)):
        found = read_labelmap(path, chosen)
        assert [part.label for part in found.segments] == [label]
        assert np.array_equal(found.array, np.where(array == label, label, 0))
    for absent in ("spleen", 2, "", -1):
        with pytest.raises(MaskError, match="no segment") as caught:
            read_labelmap(path, absent)
        assert "'Leber ä' (1)" in caught.value.advice


def test_a_number_that_is_a_name_and_a_label_is_a_name_with_a_sentence(tmp_path):
    path = tmp_path / "x.seg.nrrd"
    array = labels()
    array[0, 0, :] = 9
    write_labelmap(path, LabelMap(array, MATRIX, (*SEGMENTS, SegmentInfo(9, "7", (0, 0, 1)))))
    with pytest.warns(FileWarning, match="the label of the segment 'b | c'; the name counts"):
        found = read_labelmap(path, "7")
    assert [part.label for part in found.segments] == [9]


@pytest.mark.parametrize("color", [None, "red", "1 0", "", "255 0 0", "nan 0 0", "-1 0 0"])
def test_a_segment_without_a_usable_colour_gets_one(tmp_path, color):
    path = tmp_path / "x.seg.nrrd"
    entries = entries_of(0, "liver", 1, 0) | ({} if color is None else {"Segment0_Color": color})
    if color is None:
        del entries["Segment0_Color"]
    write_header(path, two_layers()[..., 0], entries)
    liver, bone = read_labelmap(path).segments
    assert (liver.name, bone.name) == ("liver", "label 2") and liver.color != bone.color
    assert all(0 <= part <= 1 for part in liver.color)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"Name": ""}, "Segment_0"),
        ({"Name": "", "ID": ""}, "label 1"),
        ({"Name": "  Leber   links "}, "Leber links"),
        ({"Name": "Lebe\u0301r"}, "Lebér"),
        ({"Name": "1"}, "1"),
        ({"LabelValue": "1.0", "Layer": "0.0"}, "liver"),
    ],
)
def test_odd_names_and_numbers_of_segments_are_read(tmp_path, changes, name):
    path = tmp_path / "x.seg.nrrd"
    entries = entries_of(0, "liver", 1, 0) | {f"Segment0_{key}": value for key, value in changes.items()}
    write_header(path, two_layers()[..., 0], entries)
    assert read_labelmap(path, name).segments[0].label == 1
    assert read_labelmap(path).segments[0].name == name


def test_names_that_are_not_utf8_are_read_and_written(tmp_path):
    path = tmp_path / "x.seg.nrrd"
    write_header(path, two_layers()[..., 0], entries_of(0, "Leber LINKS", 1, 0))
    path.write_bytes(path.read_bytes().replace(b"LINKS", b"L\xfcNKS"))
    found = read_labelmap(path)
    assert found.segments[0].name == "Leber LüNKS"
    write_labelmap(tmp_path / "y.seg.nrrd", found)
    assert read_labelmap(tmp_path / "y.seg.nrrd").segments[0].name == "Leber LüNKS"


def test_segments_that_share_a_label_are_refused(tmp_path):
    path = tmp_path / "x.seg.nrrd"
    write_header(path, two_layers()[..., 0], entries_of(0, "liver", 1, 0) | entries_of(1, "spleen", 1, 0))
    for chosen in (None, "liver", 1):
        with pytest.raises(MaskError, match="2 segments have the same label 1"):
            read_labelmap(path, chosen)


def test_a_name_that_is_not_unique_is_refused(tmp_path):
    path = tmp_path / "x.seg.nrrd"
    twins = (SegmentInfo(1, "kidney", (1, 0, 0)), SegmentInfo(7, "kidney", (1, 0, 0)))
    write_labelmap(path, LabelMap(labels(), MATRIX, twins))
    with pytest.raises(MaskError, match="2 segments"):
        read_labelmap(path, "kidney")
    assert read_labelmap(path, 7).segments == twins[1:]


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"Segment0_Layer": "5"},
        {"Segment0_LabelValue": "one"},
        {"Segment0_LabelValue": "0"},
        {"Segment0_LabelValue": "1.5"},
        {"Segment0_Layer": "nan"},
    ],
)
def test_headers_that_contradict_themselves_are_refused(tmp_path, entries):
    path = tmp_path / "x.seg.nrrd"
    write_header(path, two_layers(), (entries_of(0, "liver", 1, 0) | entries) if entries else {})
    with pytest.raises(InputError, match="not a label image or a Slicer segmentation"):
        read_labelmap(path)


@pytest.mark.parametrize("name", ["Master", "Source"])
def test_fractions_are_not_taken_for_labels(tmp_path, name):
    path = tmp_path / "x.seg.nrrd"
    entries = entries_of(0, "liver", 1, 0) | {f"Segmentation_{name}Representation": "Fractional labelmap"}
    write_header(path, two_layers()[..., 0], entries)
    with pytest.raises(MaskError, match="Fractional labelmap"):
        read_labelmap(path)


def volume_of(shape=SHAPE, matrix=MATRIX, name="CT") -> Volume:
    return Volume(np.zeros(shape, np.float32), matrix, name)


def labelmap_of(array: np.ndarray, matrix: np.ndarray) -> LabelMap:
    return LabelMap(array, matrix, SEGMENTS)


def test_the_same_grid_is_accepted_with_rounding():
    rounded = MATRIX.astype(np.float32).astype(np.float64)
    for labelmap, volume in (
        (labelmap_of(labels(), rounded), volume_of()),
        (labelmap_of(labels(), MATRIX), volume_of(name="")),
    ):
        assert np.array_equal(on_grid_of(labelmap, volume, crop=False).array, labels())


@pytest.mark.parametrize(
    ("shape", "change", "words"),
    [
        ((4, 6, 9), np.eye(4), "4x6x9 voxels"),
        (SHAPE, np.diag([1.1, 1, 1, 1.0]), "voxels beside"),
        (SHAPE, np.eye(4) + np.eye(4, k=3) * 0.5, "0.5 voxels beside"),
    ],
)
def test_another_grid_is_refused(shape, change, words):
    with pytest.raises(GeometryError, match=words) as caught:
        on_grid_of(labelmap_of(np.zeros(shape, np.int32), MATRIX @ change), volume_of(), crop=False)
    assert "'CT'" in caught.value.message


def test_every_axis_order_and_flip_is_brought_back():
    expected = labels(3)
    for axes, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        array = expected.transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]
        to_volume = np.eye(4)
        to_volume[:3, :3] = 0
        for axis, (source, flip) in enumerate(zip(axes, flips, strict=True)):
            to_volume[2 - source, 2 - axis] = flip
            to_volume[2 - source, 3] = SHAPE[source] - 1 if flip < 0 else 0
        found = on_grid_of(labelmap_of(array, MATRIX @ to_volume), volume_of())
        assert np.array_equal(found.array, expected)
        assert np.array_equal(found.ijk_to_ras, MATRIX) and found.segments == SEGMENTS


@given(st.tuples(*[st.integers(-3, 3)] * 3), st.tuples(*[st.integers(1, 8)] * 3))
@settings(max_examples=60)
def test_crops_and_pads_land_where_they_belong(offset, shape):
    """A mask on a shifted, smaller or larger grid; what would be lost is refused, the rest is exact."""
    world = np.zeros((20, 20, 20), np.int32)  # the volume sits at (6, 6, 6) of it
    world[7:9, 7:10, 8:11] = 4
    start = [6 + part for part in offset]
    window = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    shift = np.eye(4)
    shift[:3, 3] = offset[::-1]
    found = on_grid_of(labelmap_of(world[window], MATRIX @ shift), volume_of())
    seen = np.zeros_like(world)
    seen[window] = world[window]
    assert np.array_equal(found.array, seen[6:10, 6:11, 6:12])


def test_the_very_same_voxels_are_accepted_with_any_order_and_nothing_else_without_cropping():
    expected = labels(3)
    for axis in range(3):
        turn = np.eye(4)
        turn[2 - axis, 2 - axis], turn[2 - axis, 3] = -1, SHAPE[axis] - 1
        found = on_grid_of(labelmap_of(np.flip(expected, axis), MATRIX @ turn), volume_of(), crop=False)
        assert np.array_equal(found.array, expected)
        shift = np.eye(4)
        shift[2 - axis, 3] = 1
        cropped = np.delete(expected, 0, axis) * 0
        with pytest.raises(GeometryError, match="voxels"):
            on_grid_of(labelmap_of(cropped, MATRIX @ shift), volume_of(), crop=False)
        with pytest.raises(GeometryError, match="1 voxels beside"):
            on_grid_of(labelmap_of(expected * 0, MATRIX @ shift), volume_of(), crop=False)


def test_labels_outside_the_volume_are_refused():
    shift = np.eye(4)
    shift[2, 3] = 2
    array = np.zeros(SHAPE, np.int32)
    array[3] = 1
    with pytest.raises(GeometryError, match="outside the volume"):
        on_grid_of(labelmap_of(array, MATRIX @ shift), volume_of())
    shift[2, 3] = 99
    with pytest.raises(GeometryError, match="outside the volume"):
        on_grid_of(labelmap_of(array, MATRIX @ shift), volume_of())
    assert not on_grid_of(labelmap_of(array * 0, MATRIX @ shift), volume_of()).array.any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (np.diag([2.0, 1, 1, 1]), "another size"),
        (np.diag([1.2, 1, 1, 1]), "voxels beside"),
        (np.eye(4) + np.eye(4, k=3) * 0.5, "voxels beside"),
    ],
)
def test_grids_that_need_interpolation_are_refused(change, words):
    with pytest.raises(GeometryError, match=words):
        on_grid_of(labelmap_of(labels(), MATRIX @ change), volume_of())
