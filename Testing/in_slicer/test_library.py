"""The support library: any name, nothing overwritten silently, damaged files harm nobody."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from slicer_session import session

session()

from qnetseg.errors import InputError, OutputError  # noqa: E402
from qnetseg.volume import Patient, PatientImage, Volume, support_from_mask  # noqa: E402
from QNetSegmentLib.library import NameTaken, SupportLibrary, default_folder, file_name  # noqa: E402


def drawn(name="Liver", slices=(2,)):
    """A support set with a square of 4 x 4 pixels of 2 x 2 mm on each of the slices."""
    array = np.random.default_rng(0).random((6, 12, 10), dtype=np.float32)
    mask = np.zeros(array.shape, np.uint8)
    for index in slices:
        mask[index, 4:8, 3:7] = 1
    volume = Volume.checked(array, np.diag([-2.0, -2.0, 5.0, 1.0]), "scan")
    return support_from_mask(
        volume, mask, name=name, color=(0.25, 0.5, 0.75), terminology="a~b", plane="axial"
    )


def same(one, other):
    return (
        (one.name, one.color, one.terminology, one.volume_id, one.plane)
        == (other.name, other.color, other.terminology, other.volume_id, other.plane)
        and len(one.slices) == len(other.slices)
        and all(
            np.array_equal(a.image, b.image) and np.array_equal(a.mask, b.mask)
            for a, b in zip(one.slices, other.slices, strict=True)
        )
    )


@pytest.fixture
def library(tmp_path):
    return SupportLibrary(tmp_path / "not made yet" / "Supports")


def test_an_entry_says_whether_the_whole_patient_is_known(library):
    image = PatientImage.of(np.random.default_rng(0).random((2, 8, 8), dtype=np.float32), (5.0, 2.0))
    patient = Patient(image, np.zeros((2, 8, 8), np.uint8), 3.0)
    assert library.save("whole", replace(drawn(), patient=patient)).whole
    assert not library.save("slices", drawn()).whole
    assert library.load("whole").patient.image is image


NAMES = [
    "Liver",
    "Leber, Größe XL",
    "肝臓",
    "T2/SPIR: 50% <late>",
    "con",
    "COM1.old",
    "..",
    ".hidden",
    "ends with dot.",
    'a"b|c?d*e\\f',
    "%41",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_comes_back_and_is_a_harmless_file(library, name):
    support = drawn()
    entry = library.save(name, support)
    assert entry.name == name and [one.name for one in library.entries()] == [name]
    assert same(library.load(name), support)
    assert entry.path.parent == library.folder and [*library.folder.iterdir()] == [entry.path]
    stem = entry.path.name.removesuffix(".npz")
    assert not set(stem) & set('<>:"/\\|?*') and stem[0] != "." and stem[-1] not in ". "
    assert stem.split(".")[0].lower() not in ("con", "com1")
    library.remove(name)
    assert library.entries() == []


def test_blanks_around_a_name_do_not_count(library):
    assert library.save("  right   kidney ", drawn()).name == "right kidney"
    assert library.load("right kidney")


@pytest.mark.parametrize("name", ["", "   ", "x" * 300, "肝" * 100, "\ud800"])
def test_impossible_names_are_refused(library, name):
    with pytest.raises(InputError) as caught:
        library.save(name, drawn())
    assert caught.value.advice and library.entries() == []


def test_an_entry_tells_what_was_drawn(library):
    entry = library.save("mine", drawn("Right kidney", (1, 2, 4)))
    assert (entry.structure, entry.plane, entry.slices) == ("Right kidney", "axial", 3)
    assert not entry.problem and library.entries() == [entry]


def test_entries_are_sorted_as_people_sort(library):
    for name in ("b", "A", "c"):
        library.save(name, drawn())
    assert [one.name for one in library.entries()] == ["A", "b", "c"]


@pytest.mark.parametrize("again", ["Liver", "liver"])
def test_nothing_is_overwritten_unless_asked(library, again):
    library.save("Liver", drawn("first"))
    with pytest.raises(NameTaken) as caught:
        library.save(again, drawn("second"))
    assert "Liver" in caught.value.message and caught.value.advice
    assert library.load("Liver").name == "first"
    library.save(again, drawn("second"), replace=True)
    assert [one.structure for one in library.entries()] == ["second"]


def test_the_name_that_is_in_the_way_can_be_asked_for(library):
    library.save("Liver", drawn())
    assert library.taken(" liver ") == "Liver" and library.taken("spleen") is None


def test_a_file_that_changed_is_read_again(library):
    entry = library.save("a", drawn("first"))
    drawn("second", (1, 2)).save(entry.path)
    assert library.entries()[0].structure == "second"
    entry.path.write_bytes(b"damaged")
    assert library.entries()[0].problem


def test_a_folder_that_cannot_be_read_stands_in_the_list(tmp_path):
    (tmp_path / "Supports").write_text("a file, not a folder")
    (entry,) = SupportLibrary(tmp_path / "Supports").entries()
    assert entry.problem and "cannot be read" in entry.problem


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"no archive at all"])
def test_damaged_files_stand_in_the_list_with_a_sentence(library, content):
    library.save("good", drawn())
    (library.folder / "bad.npz").write_bytes(content)
    (library.folder / "notes.txt").write_text("not ours")
    bad, good = library.entries()
    assert (bad.name, bool(bad.problem), good.problem) == ("bad", True, "")
    assert "bad.npz" in bad.problem
    with pytest.raises(InputError):
        library.load("bad")
    library.remove("bad")
    assert [one.name for one in library.entries()] == ["good"]


def test_what_is_not_there_is_said(library):
    assert library.entries() == []
    for action in (library.load, library.remove, lambda name: library.export(name, "x.npz")):
        with pytest.raises(InputError, match="no example named 'gone'"):
            action("gone")


def test_a_support_set_travels_as_one_file(library, tmp_path):
    support = drawn("Spleen", (1, 3))
    library.save("To a colleague: 1/2", support)
    file = library.export("To a colleague: 1/2", tmp_path / "for you")
    assert file == tmp_path / "for you.npz"
    other = SupportLibrary(tmp_path / "elsewhere")
    assert other.import_file(file).name == "for you"
    assert same(other.load("for you"), support)


def test_import_and_export_overwrite_only_when_asked(library, tmp_path):
    library.save("a", drawn("first"))
    file = library.export("a", tmp_path / "a.npz")
    before = file.read_bytes()
    library.save("a", drawn("second"), replace=True)
    with pytest.raises(NameTaken):
        library.export("a", file)
    with pytest.raises(NameTaken):
        library.import_file(file)
    assert file.read_bytes() == before and library.load("a").name == "second"
    assert library.import_file(file, replace=True).structure == "first"
    assert library.export("a", file, replace=True) == file
    with pytest.raises(NameTaken):  # whoever was asked, was asked about "a"
        library.export("a", file.with_suffix(""), replace=True)


def test_foreign_files_are_not_imported(library, tmp_path):
    foreign = tmp_path / "photo.npz"
    np.savez(foreign, image=np.zeros((3, 3)))
    with pytest.raises(InputError):
        library.import_file(foreign)
    with pytest.raises(InputError):
        library.import_file(tmp_path / "gone.npz")
    assert library.entries() == [] and not library.folder.exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    library = SupportLibrary(tmp_path / "file" / "Supports")
    with pytest.raises(OutputError):
        library.save("a", drawn())


def test_a_failed_save_keeps_the_old_one(library, monkeypatch):
    library.save("a", drawn("first"))

    def full(*_args, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OutputError, match="No space left"):
        library.save("a", drawn("second"), replace=True)
    monkeypatch.undo()
    assert library.load("a").name == "first" and len([*library.folder.iterdir()]) == 1


def test_the_folder_lies_beside_the_models_and_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("QNETSEG_MODELS", str(tmp_path / "data" / "models"))
    monkeypatch.delenv("QNETSEG_SUPPORTS", raising=False)
    assert default_folder() == tmp_path / "data" / "Supports"
    monkeypatch.setenv("QNETSEG_SUPPORTS", str(tmp_path / "mine"))
    assert SupportLibrary().folder == tmp_path / "mine"


def test_file_names_are_short_enough_for_every_file_system():
    assert len(file_name("x" * 200).encode()) <= 255 and len(file_name("/" * 60).encode()) <= 255


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_what_shows_patients_is_private(tmp_path, monkeypatch):
    monkeypatch.delenv("QNETSEG_SUPPORTS", raising=False)
    monkeypatch.setenv("QNETSEG_MODELS", str(tmp_path / "models"))
    library = SupportLibrary()
    path = library.save("liver", drawn()).path
    assert (library.folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    library.folder.chmod(0o755)
    path.chmod(0o644)
    library.save("liver", drawn(), replace=True)
    assert (library.folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_no_flipped_bit_keeps_the_list_from_opening(library):
    path = library.save("one", drawn()).path
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        (entry,) = SupportLibrary(library.folder).entries()
        assert not entry.problem or "one.npz" in entry.problem
