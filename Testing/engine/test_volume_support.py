"""Support slices: found from a mask in any plane, and kept in one file."""

from __future__ import annotations

import json
import os
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnetseg.errors import InputError, MaskError, OutputError
from qnetseg.volume import (
    PLANES,
    SupportSet,
    SupportSlice,
    Volume,
    array_axes,
    canonical,
    normalise,
    support_from_mask,
    volume_id,
)
from support.support_files import rewrite

SHAPE = (6, 8, 10)
# Canonical axes (S, P, L) with the spacing (k, j, i) = (5, 2, 1.5) mm.
CANONICAL = np.array([[-1.5, 0, 0, 20.0], [0, -2.0, 0, 30.0], [0, 0, 5.0, -40.0], [0, 0, 0, 1.0]])


@pytest.fixture
def volume() -> Volume:
    return Volume(np.random.default_rng(1).normal(100, 20, SHAPE).astype(np.float32), CANONICAL, "v")


def drawn(plane: str, *indices: int) -> np.ndarray:
    """A mask of 4x4 pixels on the given slices of a plane."""
    mask = np.zeros(SHAPE, bool)
    block: list[slice | int] = [slice(1, 5)] * 3
    for index in indices:
        block[PLANES[plane]] = index
        mask[tuple(block)] = True
    return mask


@pytest.mark.parametrize(
    ("plane", "spacing", "position"),
    [("axial", (2.0, 1.5), -30.0), ("coronal", (5.0, 1.5), -26.0), ("sagittal", (5.0, 2.0), -17.0)],
)
def test_the_drawn_plane_is_found(volume, plane, spacing, position):
    mask = drawn(plane, 2)
    support = support_from_mask(volume, mask, name="spleen", color=(1, 0, 0), terminology="t")
    (part,) = support.slices
    axis = PLANES[plane]
    assert (support.plane, part.plane, part.index) == (plane, plane, 2)
    assert part.spacing == spacing and part.position == pytest.approx(position)
    assert part.mask.dtype == np.uint8 and np.array_equal(part.mask, mask.take(2, axis))
    assert part.image.dtype == np.float32
    assert np.array_equal(part.image, normalise(volume.array).take(2, axis))
    assert part.image.flags.c_contiguous and part.mask.flags.c_contiguous
    assert (support.name, support.color, support.terminology) == ("spleen", (1, 0, 0), "t")
    assert support.volume_id == volume_id(volume)
    assert np.allclose(support.axes, array_axes(volume))


def test_all_axis_orders_give_the_same_support(volume):
    mask = drawn("coronal", 3, 6)
    expected = support_from_mask(volume, mask)
    flipped = CANONICAL @ np.array([[0, 0, -1, 9], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    # Native (i, j, k) = canonical (j, k, 9 - i): array axes (k', j', i') = (flipped i, k, j).
    other = Volume(volume.array.transpose(2, 0, 1)[::-1], flipped)
    found = support_from_mask(other, mask.transpose(2, 0, 1)[::-1])
    assert found.volume_id == expected.volume_id and found.plane == expected.plane
    for a, b in zip(found.slices, expected.slices, strict=True):
        assert np.array_equal(a.image, b.image) and np.array_equal(a.mask, b.mask)
        assert (a.spacing, a.index) == (b.spacing, b.index)
        assert a.position == pytest.approx(b.position)


def test_several_slices_come_sorted_and_gaps_stay(volume):
    support = support_from_mask(volume, drawn("axial", 4, 0, 2))
    assert [part.index for part in support.slices] == [0, 2, 4]
    assert [part.position for part in support.slices] == [-40.0, -30.0, -20.0]


def test_a_tie_goes_to_the_thickest_slices(volume):
    mask = np.zeros(SHAPE, np.int16)
    mask[2, 3, 4] = 5
    assert support_from_mask(volume, mask).plane == "axial"
    thick_coronal = CANONICAL @ np.diag([1, 5.0, 1, 1])
    assert support_from_mask(Volume(volume.array, thick_coronal), mask).plane == "coronal"


def test_a_tie_of_equal_spacing_is_axial(volume):
    cube = np.diag([-1.0, -1.0, 1.0, 1.0])
    mask = np.zeros(SHAPE, bool)
    mask[2:4, 3:5, 4:6] = True
    assert support_from_mask(Volume(volume.array, cube), mask).plane == "axial"


def test_a_solid_mask_gives_every_slice(volume):
    assert len(support_from_mask(volume, np.ones(SHAPE)).slices) == SHAPE[0]


def test_the_plane_can_be_chosen(volume):
    support = support_from_mask(volume, drawn("axial", 2), plane="sagittal")
    assert support.plane == "sagittal" and len(support.slices) == 4


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros(SHAPE), "empty"),
        (np.ones(SHAPE[::-1]), "shape"),
        (np.ones(SHAPE[1:]), "shape"),
        (np.full(SHAPE, np.nan), "finite"),
    ],
)
def test_unusable_masks_are_refused(volume, mask, words):
    with pytest.raises(MaskError, match=words):
        support_from_mask(volume, mask)


def test_an_unknown_plane_is_refused(volume):
    with pytest.raises(InputError, match="oblique"):
        support_from_mask(volume, drawn("axial", 1), plane="oblique")


def test_a_set_is_never_empty_nor_of_mixed_planes(volume):
    axial, coronal = (support_from_mask(volume, drawn(plane, 1)).slices for plane in ("axial", "coronal"))
    with pytest.raises(MaskError, match="no slice"):
        SupportSet(())
    with pytest.raises(MaskError, match="one plane"):
        SupportSet(axial + coronal)


def slice_of(seed: int, shape: tuple[int, int], index: int) -> SupportSlice:
    rng = np.random.default_rng(seed)
    mask = (rng.random(shape) > 0.5).astype(np.uint8)
    mask[0, 0] = 1
    return SupportSlice(
        rng.normal(size=shape).astype(np.float32), mask, "axial", (1.0 + index, 0.1), index / 3, index
    )


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4),
    st.text(),
    st.text(st.characters(codec="utf-8"), max_size=200),
)
@settings(max_examples=25)
def test_saving_and_loading_keeps_everything(tmp_path_factory, parts, name, terminology):
    path = tmp_path_factory.mktemp("support") / "s.npz"
    slices = tuple(slice_of(seed, (h, w), index) for index, (seed, h, w) in enumerate(parts))
    support = SupportSet(slices, name, (0.1, 1 / 3, 1.0), terminology, "ab" * 32)
    support.save(path)
    loaded = SupportSet.load(path)
    for field in ("name", "color", "terminology", "volume_id", "plane"):
        assert getattr(loaded, field) == getattr(support, field)
    assert np.array_equal(loaded.axes, support.axes)
    for a, b in zip(loaded.slices, support.slices, strict=True):
        assert np.array_equal(a.image, b.image) and a.image.dtype == np.float32
        assert np.array_equal(a.mask, b.mask) and a.mask.dtype == np.uint8
        assert (a.plane, a.spacing, a.position, a.index) == (b.plane, b.spacing, b.position, b.index)


@pytest.fixture
def saved(tmp_path, volume):
    path = tmp_path / "Milz ä.npz"
    support_from_mask(volume, drawn("axial", 1, 3)).save(path)
    return path


def test_damage_anywhere_is_found(saved):
    """Cut or with a byte turned over, a file either still says the same or is refused in one sentence."""
    whole = saved.read_bytes()
    expected = SupportSet.load(saved)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        turned = bytearray(whole)
        turned[place] ^= 0xFF
        for damaged in (whole[:place], bytes(turned)):
            saved.write_bytes(damaged)
            try:
                found = SupportSet.load(saved)
            except InputError as error:
                assert "damaged" in error.message
            else:
                assert all(
                    np.array_equal(a.image, b.image)
                    for a, b in zip(found.slices, expected.slices, strict=True)
                )


@pytest.mark.parametrize(
    "change",
    [
        {"header": {"format": "something else"}},
        {"header": {"plane": "oblique"}},
        {"header": {"slices": []}},
        {"header": {"slices": [{"spacing": [1, 0], "position": 0, "index": 0}]}},
        {"header": {"slices": [{"spacing": [1], "position": 0, "index": 0}]}},
        {"header": {"slices": 5}},
        {"header": {"color": [1, 2]}},
        {"header": {"axes": [[1, 0, 0]]}},
        {"header": {"axes": [[0, 0, 0]] * 3}},
        {"header": {"axes": [[1, 0, 0]] * 3}},
        {"header": {"slices": [{"spacing": [1, 1], "position": 0, "index": -5}]}},
        {"header": {"slices": [{"spacing": [1, 1], "position": 0, "index": 1.5}]}},
        {"header": {"slices": [{"spacing": [1, 1], "position": 0, "index": float("inf")}]}},
        {"header": {"slices": [{"spacing": [1, 1], "position": 0, "index": 10**400}]}},
        {"header": {"slices": [{"spacing": [1, 1], "position": 10**400, "index": 1}]}},
        {"header": {"slices": [{"spacing": [1, 10**400], "position": 0, "index": 1}]}},
        {"header": {"slices": [{"spacing": [1, 1], "position": 0, "index": 1}] * 2}},
        {"header": {"slices": [{"spacing": [1, 1], "position": 0, "index": 1, "finished": "no"}]}},
        {"header": {"color": [0, 0, 1.5]}},
        {"header": {"color": [0, 0, float("nan")]}},
        {"header": {"name": ["Milz"]}},
        {"header": {"name": "\ud800"}},
        {"header": {"terminology": "x" * 100_000}},
        {"header": {"strays": [-1]}},
        {"header": {"top_percent": 100}},
        {"image_0": np.zeros((8, 10))},
        {"image_0": np.zeros((3, 3), np.float32)},
        {"image_0": np.full((8, 10), np.nan, np.float32)},
        {"mask_0": np.zeros((8, 10), np.uint8), "mask_1": np.zeros((8, 10), np.uint8)},
        {"mask_1": np.full((8, 10), 2, np.uint8)},
        {"image_0": np.array([{}], object)},
    ],
)
def test_foreign_content_is_refused(saved, change):
    rewrite(saved, **change)
    with pytest.raises(InputError, match="not an example that QNetSegment saved"):
        SupportSet.load(saved)


@pytest.mark.parametrize("header", ["[" * 50_000, "1" * 10_000, '{"format":' * 50_000])
def test_a_header_that_no_parser_survives_is_refused(saved, header):
    with np.load(saved) as archive:
        content = dict(archive)
    np.savez(saved, **(content | {"header": np.array(header)}))
    with pytest.raises(InputError, match="not an example that QNetSegment saved"):
        SupportSet.load(saved)


@pytest.mark.parametrize("shape", [(14142, 14142), (8192, 8192), (1, 1 << 60)])
def test_nothing_is_inflated_or_allocated_that_is_too_large(saved, shape):
    zeros = b"\0" * (1 << 20)
    with zipfile.ZipFile(saved) as old:
        members = {name: old.read(name) for name in old.namelist() if name != "image_0.npy"}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        with archive.open("image_0.npy", "w") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )
            for _ in range(min(4 * shape[0] * shape[1] // len(zeros), 300)):
                file.write(zeros)
    tracemalloc.start()
    try:
        with pytest.raises(
            InputError,
            match=r"not an example that QNetSegment saved|unpacks to more than a saved example may hold",
        ):
            SupportSet.load(saved)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_memory_that_runs_out_is_not_called_damage(saved, monkeypatch):
    def out_of_memory(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "frombuffer", out_of_memory)
    with pytest.raises(InputError, match="not enough memory"):
        SupportSet.load(saved)


def test_slices_that_are_too_large_for_a_support_file_are_refused_with_the_reason(saved):
    support, before = SupportSet.load(saved), saved.read_bytes()
    large = np.zeros((4096, 4097), np.float32)
    many = tuple(
        replace(support.slices[0], image=large[:4000], mask=large[:4000] == 0, index=n) for n in range(4)
    )
    for slices in (replace(support.slices[0], image=large, mask=large == 0),), many:
        with pytest.raises(
            OutputError, match=r"pixels\) are larger than a saved example may hold"
        ) as refused:
            replace(support, slices=slices).save(saved)
        assert refused.value.advice == "Crop the volume around the structure, and draw on the cropped one."
        assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    for content in (b"", b"hello", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not an example that QNetSegment saved"):
            SupportSet.load(path)
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(InputError, match="not an example that QNetSegment saved"):
        SupportSet.load(path)
    with pytest.raises(InputError, match="does not exist"):
        SupportSet.load(tmp_path / "nowhere.npz")
    with pytest.raises(InputError, match="does not exist"):
        SupportSet.load(tmp_path)


def test_a_slice_without_the_structure_survives_saving_and_older_files_are_still_read(saved):
    rewrite(saved, header={"version": 1})
    assert len(SupportSet.load(saved).filled) == 2
    rewrite(saved, mask_1=np.zeros((8, 10), np.uint8))
    support = SupportSet.load(saved)
    assert len(support.slices) == 2 and len(support.filled) == 1
    support.save(saved)
    with np.load(saved) as archive:
        assert json.loads(str(archive["header"]))["version"] == 2
    again = SupportSet.load(saved)
    assert [part.mask.any() for part in again.slices] == [part.mask.any() for part in support.slices]


def test_a_newer_version_says_so(saved):
    rewrite(saved, header={"version": 99})
    with pytest.raises(InputError, match="newer version"):
        SupportSet.load(saved)


def test_saving_is_all_or_nothing(saved, monkeypatch):
    support, before = SupportSet.load(saved), saved.read_bytes()

    def truncated(path, **arrays):
        path.write_bytes(before[: len(before) // 2])

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for target, failing, words in (
        ("numpy.savez_compressed", truncated, "read back"),
        ("numpy.savez_compressed", full, "No space left"),
        ("os.replace", full, "No space left"),
    ):
        with monkeypatch.context() as patch, pytest.raises(OutputError, match=words):
            patch.setattr(target, failing)
            support.save(saved)
        assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_a_volume_stored_upside_down_gives_its_canonical_support(volume):
    upside_down = CANONICAL @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 5], [0, 0, 0, 1.0]])
    stored = Volume(volume.array[::-1], upside_down)
    support = support_from_mask(stored, drawn("axial", 1)[::-1])
    turned, _ = canonical(stored)
    assert np.array_equal(turned.array, volume.array)
    assert support.slices[0].index == 1 and support.slices[0].position == pytest.approx(-35.0)
