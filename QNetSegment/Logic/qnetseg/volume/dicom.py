"""A folder with a DICOM series as one volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError, VolumeError, is_out_of_memory, tell_oddity
from ..parsing import short_of_memory
from .integrity import DamagedError, require_whole_dicom
from .itk import DICOM, LPS_RAS, RawImage, metadata_of, quiet, read_image, require_text
from .multiframe import ordered_frames
from .segfile import text_of
from .stacking import Placed, Plane, even_step, positions, require_parallel
from .volume import SourceFrame

SERIES_DESCRIPTION, SERIES_NUMBER = "0008|103e", "0020|0011"
SOP_CLASS, INSTANCE_UID, FRAMES = "0008|0016", "0008|0018", "0028|0008"
POSITION, ORIENTATION, PIXEL_SIZE = "0020|0032", "0020|0037", "0028|0030"

# What tells several images at one position apart, most telling first.
KINDS = {
    "0018|0081": "echo time",
    "0018|0086": "echo",
    "0020|0100": "time",
    "0018|1060": "trigger time",
    "0018|9087": "b-value",
    "0020|0012": "acquisition",
    "0008|0032": "acquisition time",
    "0008|0008": "type",
}

# A series is taken without asking where it has this many times the images of any other one.
CLEARLY_LARGEST = 2

# The series' identifier stands well within the first bytes of a file.
HEADER_BYTES = 1 << 16
META_BYTES = 512  # that hold the SOP class

# SOP classes whose objects refer to a series without being part of it: RT, SEG and registrations,
# presentation states, structured reports (DICOM PS3.4, annex B), and the directory of a medium.
NOT_IMAGES = tuple(
    f"1.2.840.10008.{part}".encode()
    for part in ("5.1.4.1.1.481.", "5.1.4.1.1.66", "5.1.4.1.1.11.", "5.1.4.1.1.88.", "1.3.10")
)


@dataclass(frozen=True)
class _Series:
    """A series of a folder: its files, and what it is called."""

    uid: str
    files: tuple[str, ...]
    description: str
    number: str
    images: int

    @property
    def title(self) -> str:
        """What `series` can be to choose it."""
        return self.description or (f"series {self.number}" if self.number else self.uid)

    @property
    def numbered(self) -> str:
        """The number behind a description, which several series may share."""
        return f"number {self.number}, " if self.description and self.number else ""

    def is_called(self, name: str) -> bool:
        return name != "" and name.casefold() in {self.uid, self.number, self.title.casefold()}


@dataclass(frozen=True)
class _Slice(Placed):
    """A file of one image."""

    file: str
    metadata: dict[str, str]

    def states_directions(self) -> bool:
        """Whether the plane's directions are those of the header; GDCM replaces what is not perpendicular."""
        try:
            stated = np.array([float(part) for part in self.metadata.get(ORIENTATION, "").split("\\")])
            vectors = stated.reshape(2, 3)
        except ValueError:
            return False
        cosines = (vectors * self.plane.directions).sum(axis=1)
        return bool((cosines > 0.99 * np.linalg.norm(vectors, axis=1)).all() and vectors.any())


def read_series(folder: Path, series: str | None = None) -> tuple[RawImage, str]:
    """A series among the files of `folder`, and its description (or the folder's name).

    series: its description, number or UID; where several images lie at every position, what tells them apart,
    such as "echo time 10", alone or behind the description and a comma. None: the only series, or one with
    many more images than any other. Raises InputError for a folder without DICOM files or where a series has
    to be chosen, VolumeError for files that cannot be read as one volume, GeometryError for slices that are
    not parallel and evenly spaced.
    """
    _require_plain_files(folder)
    found = _series_in(folder)
    chosen, kind = _chosen(found, series, folder)
    _require_all(folder, chosen.uid, {Path(name).name for one in found for name in one.files})
    name = chosen.description or folder.resolve().name
    if len(chosen.files) == 1 and not kind:
        return read_file(Path(chosen.files[0]), f"The DICOM series in '{folder.name}'"), name
    slices, matrix = _stacked(chosen, kind, folder)
    array = _pixels([one.file for one in slices], folder)
    if len(slices) == 1:
        _tell_single(f"The DICOM series in '{folder.name}'")
    return RawImage(array, matrix, slices[0].metadata, _frames(slices)), name


def source_frames(path: Path) -> tuple[SourceFrame, ...]:
    """Where each slice of a DICOM series, a folder or a file, is read; without its voxels where these are not
    in one file. Raises what `read_series` and `read_file` raise."""
    if path.is_file():
        return read_file(path).frames
    _require_plain_files(path)
    chosen, kind = _chosen(_series_in(path), None, path)
    if len(chosen.files) == 1:
        return read_file(Path(chosen.files[0])).frames
    return _frames(_stacked(chosen, kind, path)[0])


def _stacked(chosen: _Series, kind: str, folder: Path) -> tuple[list[_Slice], np.ndarray]:
    """The slices of a series in their order, one at a position, and (4, 4) IJK to RAS."""
    what = f"The slices of the DICOM series in '{folder.name}'"
    slices = [_slice(file, folder) for file in chosen.files]
    _tell_missing(slices, f"The DICOM series in '{folder.name}'")
    require_parallel(slices, what)
    slices = _one_a_position(_without_copies(slices, folder), kind, folder)
    return slices, LPS_RAS @ slices[0].plane.matrix(even_step(slices, what))


def _frames(slices: Sequence[_Slice]) -> tuple[SourceFrame, ...]:
    return tuple(SourceFrame(Path(one.file)) for one in slices)


def _require_plain_files(folder: Path) -> None:
    """Refuse what would end or halt the process in GDCM, which opens everything that it finds."""
    try:
        inside = list(folder.iterdir())
    except OSError as cause:
        raise InputError(f"The folder '{folder}' could not be opened: {cause.strerror}.") from cause
    for path in (folder, *inside):
        require_text(path, InputError)
        if not (path.is_file() or path.is_dir()):
            raise InputError(f"'{path}' is not a file, but a pipe, a device or a dead link.", "Remove it.")


def read_file(path: Path, what: str | None = None) -> RawImage:
    """A single DICOM file; what: how a sentence about it begins. Warns of a single slice."""
    raw = read_image(path)
    if len(raw.array) > 1:
        return ordered_frames(path, raw)
    _tell_single(what or f"'{path.name}'")
    return replace(raw, frames=(SourceFrame(path),))


def _tell_missing(slices: Sequence[_Slice], what: str) -> None:
    """Warn of a geometry that the headers leave open and GDCM makes up; VolumeError for slices anywhere."""
    if not all(one.metadata.get(POSITION, "").strip() for one in slices):
        raise VolumeError(
            f"{what} does not say where its slices lie.",
            "Export the series again, or make a volume of it in Slicer.",
        )
    if any(PIXEL_SIZE not in one.metadata for one in slices):
        tell_oddity(f"{what} does not say how large its pixels are; 1 mm was taken.")
    if not all(one.states_directions() for one in slices):
        tell_oddity(
            f"{what} does not say in which usable directions its rows and columns run; left and back were"
            " taken."
        )


def _tell_single(what: str) -> None:
    tell_oddity(f"{what} is a single slice; if it belongs to a series, choose the folder with all its files.")


def _series_in(folder: Path) -> list[_Series]:
    """All series of the folder, largest first."""
    found = []
    with quiet():
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
            files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
            metadata = metadata_of(_header(files[0], folder))
            if metadata.get(SOP_CLASS, "").encode().startswith(NOT_IMAGES):
                continue
            frames = metadata.get(FRAMES, "").strip()
            images = int(frames) if len(files) == 1 and frames.isdecimal() else len(files)
            number = metadata.get(SERIES_NUMBER, "").strip()
            description = text_of(metadata.get(SERIES_DESCRIPTION, ""))
            found.append(_Series(uid, files, description, number, images))
    if not found:
        raise InputError(
            f"The folder '{folder}' holds no DICOM images.",
            "Choose the folder that directly contains the files of the series.",
        )
    return sorted(found, key=lambda one: -one.images)


def _chosen(found: list[_Series], name: str | None, folder: Path) -> tuple[_Series, str]:
    """The series of that name, or else the only or clearly largest one; and the kind of image, or nothing."""
    listed = ", ".join(f"'{one.title}' ({one.numbered}{one.images} images)" for one in found)
    how = "Choose one by its name (on the command line --series NAME), or give it a folder of its own."
    if name is not None:
        wanted = text_of(name)
        before, _, after = wanted.rpartition(", ")
        for title, kind in ((wanted, ""), (before, after)):
            named = [one for one in found if one.is_called(title)]
            if len(named) == 1:
                return named[0], kind
            if named:
                uids = ", ".join(one.uid for one in named)
                raise InputError(
                    f"{len(named)} series in '{folder.name}' are called '{title}'.", f"Choose: {uids}."
                )
        if len(found) > 1 or not wanted.casefold().startswith(tuple(KINDS.values())):
            raise InputError(f"There is no series '{name}' in '{folder.name}'.", f"Series: {listed}.")
        return found[0], wanted
    if len(found) > 1 and found[0].images < CLEARLY_LARGEST * found[1].images:
        raise InputError(f"The folder '{folder.name}' holds {len(found)} DICOM series: {listed}.", how)
    if len(found) > 1:
        tell_oddity(
            f"The folder '{folder.name}' holds {len(found)} DICOM series: {listed}; the first of these, which"
            " is the largest, was taken."
        )
    return found[0], ""


def _header(name: str, folder: Path) -> sitk.ImageFileReader:
    """A reader that has read the header of a file."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(DICOM)
    reader.SetFileName(name)
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as cause:
        raise _unreadable(folder) from cause
    return reader


def _slice(name: str, folder: Path) -> _Slice:
    reader = _header(name, folder)
    size = reader.GetSize()
    if reader.GetNumberOfComponents() > 1:
        raise VolumeError(
            f"The DICOM series in '{folder.name}' has colour images.", "Choose a series of grey values."
        )
    if len(size) > 2 and size[2] > 1:
        raise VolumeError(
            f"The DICOM series in '{folder.name}' is spread over several files of many frames.",
            "Choose one of the files, or export the series as one file.",
        )
    directions = np.array(reader.GetDirection()).reshape(3, 3).T[:2]
    plane = Plane(np.array(reader.GetOrigin()), directions, reader.GetSpacing()[:2], size[:2])
    return _Slice(plane, name, metadata_of(reader))


def _without_copies(slices: list[_Slice], folder: Path) -> list[_Slice]:
    """The slices without files that hold the same image again, of which it warns."""
    kept: list[_Slice] = []
    for group in positions(slices):
        here: list[_Slice] = []
        for one in group:
            if not any(_same_image(one, other, folder) for other in here):
                here.append(one)
        kept += here
    if len(kept) < len(slices):
        copies = len(slices) - len(kept)
        tell_oddity(
            f"The DICOM series in '{folder.name}' has copies of slices;"
            f" {'one file was' if copies == 1 else f'{copies} files were'} left out."
        )
    return kept


def _same_image(one: _Slice, other: _Slice, folder: Path) -> bool:
    uid = one.metadata.get(INSTANCE_UID, "")
    differ = any(one.metadata.get(tag) != other.metadata.get(tag) for tag in KINDS)
    if differ and uid != other.metadata.get(INSTANCE_UID, ""):
        return False
    return bool(np.array_equal(_pixels([one.file], folder), _pixels([other.file], folder)))


def _one_a_position(slices: list[_Slice], kind: str, folder: Path) -> list[_Slice]:
    """One slice for each position in order: those of that kind, where there are several everywhere."""
    groups = positions(slices)
    most = max(map(len, groups))
    stacks = _stacks(groups, most)
    if kind:
        for name, part in stacks.items():
            if name.casefold() == kind.casefold():
                return part
        raise InputError(f"There are no images '{kind}' in '{folder.name}'.", _choice(stacks))
    if most == 1:
        return [group[0] for group in groups]
    where = "every position" if min(map(len, groups)) == most else "some positions"
    raise VolumeError(
        f"The DICOM series in '{folder.name}' has {most} images at {where}, which differ.", _choice(stacks)
    )


def _stacks(groups: list[list[_Slice]], count: int) -> dict[str, list[_Slice]]:
    """What tells `count` images at every position apart, such as "echo time 10", and the slices of each."""
    for tag, title in KINDS.items():
        stacks: dict[str, list[_Slice]] = defaultdict(list)
        for one in (one for group in groups for one in group):
            stacks[f"{title} {text_of(one.metadata.get(tag, ''))}"].append(one)
        whole = (len(part) == len(positions(part)) == len(groups) for part in stacks.values())
        if len(stacks) == count and all(whole):
            return stacks
    return {}


def _choice(stacks: dict[str, list[_Slice]]) -> str:
    if len(stacks) < 2:
        return "Give one volume a folder of its own."
    names = ", ".join(f"'{name}'" for name in stacks)
    return f"Choose one of {names} (on the command line --series NAME)."


def _pixels(files: Sequence[str], folder: Path) -> np.ndarray:
    """(K, J, I) float32 values of files of one image each."""
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO(DICOM)
    reader.SetFileNames(files)
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        for file in files:
            require_whole_dicom(Path(file))
        with quiet():
            array = sitk.GetArrayFromImage(reader.Execute())
    except (DamagedError, RuntimeError, MemoryError) as cause:
        if is_out_of_memory(cause):
            raise VolumeError(*short_of_memory(folder.name)) from cause
        raise _unreadable(folder) from cause
    return array.reshape(-1, *array.shape[-2:])


def _require_all(folder: Path, uid: str, listed: set[str]) -> None:
    """Raise VolumeError for a file of the series that GDCM left out without a word because it is damaged."""
    for path in folder.iterdir():
        if path.name in listed or not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                start = file.read(HEADER_BYTES)
        except OSError as cause:
            raise _unreadable(folder) from cause
        refers_only = any(sop_class in start[:META_BYTES] for sop_class in NOT_IMAGES)
        if start[128:132] == b"DICM" and not refers_only and _holds_series(uid, start):
            raise _unreadable(folder)


def _holds_series(uid: str, start: bytes) -> bool:
    """Whether SeriesInstanceUID has this value, with explicit or implicit VR, or was cut off before it."""
    tag, value = b"\x20\x00\x0e\x00", uid.encode() + b"\0" * (len(uid) % 2)
    lengths = (b"UI" + len(value).to_bytes(2, "little"), len(value).to_bytes(4, "little"))
    return tag not in start or any(tag + length + value in start for length in lengths)


def _unreadable(folder: Path) -> VolumeError:
    return VolumeError(
        f"The DICOM series in '{folder.name}' could not be read as one volume; a file is damaged or locked.",
        "Export the series again.",
    )
