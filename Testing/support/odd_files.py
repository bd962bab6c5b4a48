"""Odd image files made at random, each with what has to become of it; run as a program it reads them.

    python odd_files.py FOLDER FIRST LAST

reads the files of these seeds and prints a line for each wrong outcome. In a process of its own, because bad
files have ended processes.
"""

from __future__ import annotations

import faulthandler
import gzip
import os
import struct
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHAPE = (5, 6, 7)  # (K, J, I)
SPACING = (1.5, 2.0, 3.5)  # mm of (i, j, k)
ORIGIN = (-20.0, 11.0, 4.0)  # RAS
MATRIX = np.array([[1.5, 0, 0, -20.0], [0, 2.0, 0, 11.0], [0, 0, 3.5, 4.0], [0, 0, 0, 1]])

SAME, REFUSED, EITHER, ANYTHING = "read as it is", "refused", "read as it is or refused", "read or refused"


@dataclass(frozen=True)
class Odd:
    """A file; `array` (K, J, I) is what it holds; `outcome` is one of the four above."""

    path: Path
    array: np.ndarray
    outcome: str
    labels: bool = False


def image(luck: np.random.Generator, kind: str = "i2") -> np.ndarray:
    return luck.integers(0, 200, SHAPE).astype(kind)


def odd_name(luck: np.random.Generator, ending: str) -> str:
    stems = [
        "x",
        "Bauch ä",
        "77 % v",
        "a%d",
        "s(%Max=5)",
        "%s%n",
        "-x",
        "a b  c",
        "x.y.z",
        "'\"",
        "脳",
        "$x$",
        "#",
    ]
    return str(luck.choice([*stems, "n" * 200, "one\ntwo", "tab\there"])) + ending


def nifti(luck: np.random.Generator, folder: Path) -> Odd:
    """Codes, byte orders, extensions, lengths and endings that do not say what is inside."""
    array = image(luck, str(luck.choice(["u1", "i2", "i4", "f4", "f8"])))
    code = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64}[array.dtype.str[1:]]
    order, offset = luck.choice(["<", ">"]), int(luck.choice([352, 352, 368, 1024]))
    header = bytearray(offset)
    dims = [(3, *SHAPE[::-1], 1, 1, 1, 1), (4, *SHAPE[::-1], 0, 0, 0, 0), (5, *SHAPE[::-1], 1, 1, 1, 1)]
    codes = [(1, 1), (0, 1), (1, 0), (0, 2), (2, 2)][luck.integers(5)]
    bits = int(luck.choice([array.dtype.itemsize * 8, 0]))
    for place, layout, values in (
        (0, "i", (348,)),
        (40, "8h", dims[luck.integers(3)]),
        (70, "2h", (code, bits)),
        (76, "4f", (1.0, *SPACING)),
        (108, "f", (float(offset),)),
        (112, "2f", [(1.0, 0.0), (0.0, 0.0), (float("nan"), 0.0)][luck.integers(3)]),
        (252, "2h", codes),
        (256, "6f", (0, 0, 0, *ORIGIN)),
        (280, "12f", MATRIX[:3].ravel()),
        (344, "4s", (b"n+1\0",)),
    ):
        struct.pack_into(f"{order}{layout}", header, place, *values)
    content, outcome = bytes(header) + array.astype(array.dtype.newbyteorder(order)).tobytes(), SAME
    damage, ending = (
        luck.choice(["", "", "cut", "more", "header cut"]),
        luck.choice([".nii", ".nii.gz", ".NII.GZ"]),
    )
    if damage == "cut":
        content, outcome = content[: -int(luck.integers(1, array.nbytes))], REFUSED
    elif damage == "header cut":
        content, outcome = content[: int(luck.integers(1, 348))], REFUSED
    elif damage == "more":
        content += b"\1" * 9
    if ending != ".nii" and luck.random() < 0.8:
        content = gzip.compress(content) + b"garbage" * int(luck.integers(2))
    path = folder / odd_name(luck, ending)
    path.write_bytes(content)
    return Odd(path, array, outcome)


def nrrd(luck: np.random.Generator, folder: Path) -> Odd:
    """Spaces, encodings, comments, line ends, data elsewhere."""
    array, outcome = image(luck), SAME
    space, signs = [
        ("left-posterior-superior", (-1, -1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
    ][luck.integers(3)]
    turned = np.array(signs)[:, None] * MATRIX[:3]
    encoding = str(luck.choice(["raw", "gzip", "text"]))
    lines = [
        "NRRD0005",
        "# " + "comment " * int(luck.integers(1, 9)),
        "type: short",
        "dimension: 3",
        f"space: {space}",
        f"sizes: {' '.join(map(str, SHAPE[::-1]))}",
        "space directions: " + " ".join(f"({','.join(map(str, turned[:, axis]))})" for axis in range(3)),
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {encoding}",
        f"space origin: ({','.join(map(str, turned[:, 3]))})",
        f"odd key:={'ü' * int(luck.integers(30))}",
    ]
    data = array.astype("<i2").tobytes()
    if encoding == "gzip":
        data = gzip.compress(data)
    elif encoding == "text":
        data = " ".join(map(str, array.ravel())).encode()
    elif luck.random() < 0.3:
        data, outcome = data[:-3], REFUSED
    path = folder / odd_name(luck, ".nrrd")
    if luck.random() < 0.4:
        name = str(
            luck.choice(
                ["d.raw", "77 % v.raw", "a%n.raw", "a%n%d.raw 0 4 1", "%999999999d.raw 0 4 1", "gone.raw"]
            )
        )
        lines.append(f"data file: {name}")
        if name != "gone.raw":
            (folder / name.split(" 0 ")[0]).write_bytes(data)
        outcome = outcome if name in ("d.raw", "77 % v.raw", "a%n.raw") else REFUSED
        path.write_bytes("\n".join(lines).encode() + b"\n")
    else:
        path.write_bytes("\n".join(lines).encode() + b"\n\n" + data)
    return Odd(path, array, outcome)


def metaimage(luck: np.random.Generator, folder: Path) -> Odd:
    """Names with %, patterns, lists, text, and files that are cut."""
    array, outcome = image(luck), SAME
    data = array.astype("<i2").tobytes()
    name = str(
        luck.choice(
            [
                *(
                    "LOCAL",
                    "x.raw",
                    "x 77 % v.raw",
                    "s(%Max=5).raw",
                    "a%n.raw",
                    "a%s%s%s.raw",
                    "p%03d.raw 0 4 1",
                ),
                *(
                    "p%d.raw 0 4 0",
                    "p%d.raw 0 4",
                    "p%03d.raw 0 3 1",
                    "LIST 3",
                    "LIST",
                    "/dev/zero",
                    "../gone.raw",
                    "p%999d.raw 0 4 1",
                    ".",
                    "d\udcff.raw",
                ),
            ]
        )
    )
    cut = luck.random() < 0.25 and name in ("LOCAL", "x.raw")
    header = [
        "ObjectType = Image",
        "NDims = 3",
        f"BinaryData = {luck.choice(['True', 'true', 'T'])}",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        "TransformMatrix = -1 0 0 0 -1 0 0 0 1",
        f"Offset = {-ORIGIN[0]} {-ORIGIN[1]} {ORIGIN[2]}",
        f"ElementSpacing = {' '.join(map(str, SPACING))}",
        f"DimSize = {' '.join(map(str, SHAPE[::-1]))}",
        "ElementType = MET_SHORT",
        f"ElementDataFile = {name}",
    ]
    if cut:
        data, outcome = data[: int(luck.integers(len(data)))], REFUSED
    if name.startswith(("LIST", "p%03d")):
        names = [f"p{k:03d}.raw" for k in range(SHAPE[0])]
        for k, part in enumerate(names):
            (folder / part).write_bytes(array[k].astype("<i2").tobytes())
        header += names if name.startswith("LIST") else []
    elif name == "x.raw" or "%" in name:
        (folder / name.split(" 0 ")[0]).write_bytes(data)
    if name not in ("LOCAL", "x.raw", "LIST", "p%03d.raw 0 4 1"):
        outcome = REFUSED
    path = folder / odd_name(luck, ".mha" if name == "LOCAL" else ".mhd")
    path.write_bytes("\n".join(header).encode("utf-8", "surrogateescape") + b"\n" + data * (name == "LOCAL"))
    return Odd(path, array, outcome)


def segmentation(luck: np.random.Generator, folder: Path) -> Odd:
    """A .seg.nrrd with fields that are missing or odd."""
    array = luck.integers(0, 3, SHAPE).astype("u1")
    fields = {
        "ID": ["Segment_1", "", "ä"],
        "Name": ["liver", "", "1", "2", "a:=b", "é" * 99, " "],
        "Color": ["0.1 0.2 0.3", "red", "", "255 0 0", "1 2", "nan nan nan"],
        "LabelValue": ["1", "1.0", "2"],
        "Layer": ["0", ""],
        "Tags": ["a:b|", "TerminologyEntry:x~y|", "|||", ":"],
        "Extent": ["0 1 0 1 0 1", "junk"],
    }
    entries = [
        f"Segment0_{key}:={luck.choice(values)}" for key, values in fields.items() if luck.random() < 0.7
    ]
    lines = [
        "NRRD0004",
        "type: unsigned char",
        "dimension: 3",
        "space: right-anterior-superior",
        f"sizes: {' '.join(map(str, SHAPE[::-1]))}",
        "space directions: (1.5,0,0) (0,2,0) (0,0,3.5)",
        "encoding: gzip",
        f"space origin: ({','.join(map(str, ORIGIN))})",
        *entries,
    ]
    path = folder / odd_name(luck, ".seg.nrrd")
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + gzip.compress(array.tobytes()))
    return Odd(path, array, SAME, labels=True)


def dicom(luck: np.random.Generator, folder: Path) -> Odd:
    """Slices in any order, copies, echoes, gaps, other files beside them, and frames in any order."""
    from support import dicom_bed as bed

    kind = str(luck.choice(["plain", "copy", "echo", "gap", "cut", "frames", "two volumes", "beside"]))
    array, order = bed.ARRAY, luck.permutation(bed.SHAPE[0]).tolist()
    if kind in ("frames", "two volumes"):
        path = folder / "e.dcm"
        bed.save(bed.enhanced(order + order[:3] * (kind == "two volumes")), path)
        return Odd(path, array, SAME if kind == "frames" else REFUSED)
    for k in order:
        if kind == "gap" and k == 3:
            continue
        noise = luck.uniform(-1e-8, 1e-8, 6)
        part = bed.slice_of(
            k, ImageOrientationPatient=(np.array(bed.ORIENTATION) + noise).tolist(), EchoTime="10"
        )
        bed.save(part, folder / f"{luck.integers(1 << 30)}")
        if kind == "copy":
            bed.save(part, folder / f"{luck.integers(1 << 30)} (1)")
        if kind == "echo":
            bed.save(bed.slice_of(k, array[k] // 2, EchoTime="90"), folder / f"{luck.integers(1 << 30)}")
    if kind == "beside":
        (folder / "notes.txt").write_text("DICM")
        (folder / os.fsdecode(b"\xff.txt")).write_bytes(b"\0" * 128 + b"DICM")
    if luck.random() < 0.1:
        file = min(folder.iterdir())
        file.rename(file.with_name(os.fsdecode(b"\xff")))
        return Odd(folder, array, REFUSED)
    if kind == "cut":
        file = min(folder.iterdir())
        file.write_bytes(file.read_bytes()[: int(luck.integers(140, file.stat().st_size - 2))])
    outcome = {"echo": REFUSED, "gap": REFUSED, "cut": REFUSED, "beside": EITHER}.get(kind, SAME)
    return Odd(folder, array, outcome)


def garbled(luck: np.random.Generator, folder: Path) -> Odd:
    """Bytes of a sound file's header changed at random; whether it can still be read is open."""
    made = [nifti, nrrd, metaimage, segmentation][luck.integers(4)](luck, folder)
    content = bytearray(made.path.read_bytes())
    for place in luck.integers(0, min(len(content), 400), int(luck.integers(1, 6))):
        content[place] = int(luck.integers(256))
    made.path.write_bytes(content)
    return Odd(made.path, made.array, ANYTHING, made.labels or luck.random() < 0.5)


def foreign(luck: np.random.Generator, folder: Path) -> Odd:
    """Names in other encodings, empty files, other formats under these endings, and folders."""
    ending = str(luck.choice([".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha", ".mhd", ".dcm", ".nhdr", ""]))
    path = folder / (os.fsdecode(b"\xfc\xff") if luck.random() < 0.4 else "x")
    path = path.with_name(path.name + ending)
    contents = [
        b"",
        b"\0" * 500,
        luck.bytes(700),
        b"NRRD0004\n",
        gzip.compress(luck.bytes(99)),
        b"\0" * 128 + b"DICM",
    ]
    path.write_bytes(contents[luck.integers(len(contents))])
    return Odd(path, image(luck), REFUSED, bool(luck.random() < 0.5))


KINDS: list[Callable[[np.random.Generator, Path], Odd]] = [
    *(nifti, nrrd, metaimage, segmentation, dicom, garbled, foreign)
]


def fault_of(odd: Odd) -> str:
    """What is wrong with how the file is read; empty for a right outcome."""
    from qnetseg.errors import InputError
    from qnetseg.volume import read_labelmap, read_volume

    read = read_labelmap if odd.labels else read_volume
    try:
        found = read(odd.path)
    except InputError as error:
        if not error.message or "\n" in error.message.replace(str(odd.path), "").replace(odd.path.name, ""):
            return f"no sentence: {error.message!r}"
        return f"refused: {error}" if odd.outcome == SAME else ""
    if odd.outcome == REFUSED:
        return "read, although it is broken or ambiguous"
    if odd.outcome == ANYTHING:
        return "" if np.isfinite(found.array).all() else "values that are not finite"
    if not np.array_equal(found.array, odd.array):
        return "read with other values"
    if odd.array.shape == SHAPE and not np.allclose(found.ijk_to_ras, MATRIX, atol=1e-4):
        return "read at another place"
    return ""


def main(folder: Path, first: int, last: int) -> None:
    faulthandler.enable()
    warnings.simplefilter("ignore")
    for seed in range(first, last):
        luck = np.random.default_rng(seed)
        own = folder / str(seed)
        own.mkdir()
        (folder / "now").write_text(str(seed))
        odd = KINDS[seed % len(KINDS)](luck, own)
        try:
            fault = fault_of(odd)
        except Exception:
            fault = traceback.format_exc()
        if fault:
            print(f"seed {seed}, {odd.path.name!a}, to be {odd.outcome}: {fault}")
    (folder / "now").write_text("end")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
