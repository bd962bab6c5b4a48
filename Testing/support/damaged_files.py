"""Damaged and hostile files made at random; run as a program it reads them.

    python -m support.damaged_files FOLDER FILES KIND...

reads so many files of each kind and prints JSON: how often each outcome came, what is wrong, and by how much
memory grew, in MB. In a process of its own, so that its memory can be told.
"""

from __future__ import annotations

import io
import json
import random
import re
import sys
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qnetseg.errors import QNetSegmentError

from .damage import as_json, changed_tree, damaged_bytes

Read = Callable[[Path], Any]

# --- support files --------------------------------------------------------------------------------


def support(folder: Path) -> tuple[bytes, Callable[[random.Random], bytes], Read]:
    from qnetseg.volume import Patient, PatientImage, SupportSet, Volume, support_from_mask

    image = np.random.default_rng(0).random((6, 32, 32), dtype=np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[2:4, 4:18, 3:17] = 1
    volume = Volume.checked(image, np.diag([-2.0, -2.0, 5.0, 1.0]), "scan")
    path = folder / "good.npz"
    drawn = support_from_mask(volume, mask, name="Liver", plane="axial")
    patient = Patient(PatientImage.of(image, (5.0, 2.0)), mask.astype(np.uint8), 8.0)
    replace(drawn, patient=patient).save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header"]))
    bomb = _bomb(header)

    def odd_archive(luck: random.Random) -> bytes:
        content: dict[str, Any] = dict(arrays)
        packed: dict[str, bytes] = {}
        kind = luck.randrange(5)
        name = luck.choice(list(arrays))
        if kind == 4:
            return bomb
        if kind < 2:
            content["header"] = np.array(as_json(luck, header).decode())
        elif kind == 2:
            odd = (
                np.zeros(0),
                np.full((32, 32), np.nan, "f4"),
                np.ones((2, 2, 2), "f4"),
                np.array("[" * 9999),
            )
            content[name] = luck.choice(odd)
        else:  # inflates to more than anybody wants, or says that it does
            shape = luck.choice(((9000, 9000), (1 << 40, 1 << 20), (1, 10**17), (4000, 4000)))
            buffer = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                buffer, {"descr": luck.choice(("<f4", "|u1", "<U9")), "fortran_order": False, "shape": shape}
            )
            packed[name] = buffer.getvalue() + bytes(
                min(shape[0] * shape[1], 90_000_000) >> luck.choice((0, 12))
            )
            del content[name]
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", luck.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))) as archive:
            for key, array in content.items():
                buffer = io.BytesIO()
                np.save(buffer, array)
                archive.writestr(f"{key}.npy", buffer.getvalue())
            for key, data in packed.items():
                archive.writestr(f"{key}.npy", data, zipfile.ZIP_DEFLATED, 1)
        return out.getvalue()

    return path.read_bytes(), odd_archive, SupportSet.load


def _bomb(header: dict[str, Any]) -> bytes:
    """A sound support file of two megabytes whose one slice takes half a gigabyte."""
    side, out = 10_000, io.BytesIO()
    header = header | {"slices": header["slices"][:1], "strays": []}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        buffer = io.BytesIO()
        np.save(buffer, np.array(json.dumps(header)))
        archive.writestr("header.npy", buffer.getvalue())
        for name, kind, size in (("image_0.npy", "<f4", 4), ("mask_0.npy", "|u1", 1)):
            shape = {"descr": kind, "fortran_order": False, "shape": (side, side)}
            with archive.open(name, "w") as file:
                np.lib.format.write_array_header_1_0(file, shape)
                file.write(bytes([size == 1]) + bytes(side * size - 1))
                for _ in range(side - 1):
                    file.write(bytes(side * size))
    return out.getvalue()


# --- weights and checkpoints ----------------------------------------------------------------------


def _odd_header(luck: random.Random, good: bytes, checksum: Callable[[dict, dict], str]) -> bytes:
    """A safetensors file whose header or metadata are odd, with the right checksum where it can have one."""
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    if luck.randrange(3):
        metadata = header["__metadata__"]
        name = luck.choice([key for key in ("config", "provenance") if key in metadata])
        metadata[name] = luck.choice((as_json(luck, json.loads(metadata[name])).decode(), "[" * 50_000))
        metadata["sha256"] = checksum(metadata, header)
    else:
        header = changed_tree(luck, header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + good[8 + length :]


def weights(folder: Path) -> tuple[bytes, Callable[[random.Random], bytes], Read]:
    from qnetseg.model import PropagationConfig, PropagationNet, load_propagation
    from qnetseg_lab.weights.writing import save_model
    from QNetSegmentLib.setup.weights_file import use_weights_file

    path = folder / "good.safetensors"
    save_model(path, PropagationNet(PropagationConfig((8,) * 5)), {"licence": "x", "scores": {}}, "int8")
    good = path.read_bytes()

    def read(path: Path) -> None:
        with suppress(QNetSegmentError):  # less strict: it does not build the network
            use_weights_file(path)
        load_propagation(path)

    return good, lambda luck: _odd_header(luck, good, _checksum_of(path)), read


def _checksum_of(good: Path) -> Callable[[dict, dict], str]:
    """Checksums of files with the tensors of a good one and other metadata."""
    from safetensors.torch import load_file

    from qnetseg_lab.weights.writing import checksum_of

    tensors = load_file(good)
    return lambda metadata, header: checksum_of(tensors, metadata)


def checkpoint(folder: Path) -> tuple[bytes, Callable[[random.Random], bytes], Read]:
    import torch

    from qnetseg_lab.training import checkpoint as module

    path = folder / "good.checkpoint.safetensors"
    state = {
        "network": {
            "weight": torch.arange(120.0).reshape(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
        },
        "optimiser": {"state": {0: {"momentum": torch.ones(4)}}, "param_groups": [{"betas": (0.9, 0.99)}]},
        "step": 3,
        "recipe": "{}",
    }
    module.save(state, path)
    good = path.read_bytes()
    return good, lambda luck: _odd_header(luck, good, _checksum_of(path)), module.load


# --- texts ----------------------------------------------------------------------------------------


def manifest(folder: Path) -> tuple[bytes, Callable[[random.Random], bytes], Read]:
    from qnetseg import catalogue

    entry = {
        "name": "a",
        "file": "a.safetensors",
        "size": 5,
        "sha256": "ab",
        "licence": "x",
        "description": "y",
    }
    tree = {
        "defaults": {"propagation": "a", "qnet": "b"},
        "models": [entry, {**entry, "seconds": 3.5, "url": ""}],
    }
    catalogue.shipped_folder = lambda: folder  # type: ignore[assignment]

    def read(path: Path) -> None:
        path.replace(folder / "manifest.json")
        catalogue.read_catalogue()

    return json.dumps(tree).encode(), lambda luck: as_json(luck, tree), read


def message(folder: Path) -> tuple[bytes, Callable[[random.Random], bytes], Read]:
    from qnetseg.worker import protocol
    from qnetseg.worker.fields import BoxFile, Drawn

    matrix = tuple(tuple(map(float, row)) for row in np.eye(4))
    box = BoxFile("m.npy", (1, 2, 3))
    drawn = Drawn("v", box, "liver", (0.5, 1.0, 0.0), "", "axial", (1, 2), box)
    sent = (
        protocol.Hello("1", protocol.VERSION, str(folder / "qnetseg-worker-x")),
        protocol.Open("v", None, None, "v.npy", matrix, "scan", ()),
        protocol.Opened("v", (2, 3, 4), matrix, "scan", "0f", ("It has gaps.",)),
        protocol.Segment("2", "v", drawn, None, ("f.npz",), None, {"alpha": 0.5}, "auto", box, "mask"),
        protocol.Pack("3", drawn),
        protocol.Upload("2", "2-m.npy", 8, 0, "eJwDAAAAAAE="),
        protocol.Close("4", "v"),
        protocol.Result("2", box, "c.npy", {"slices": [], "warnings": []}),
        protocol.Progress("2", 1, 5, "slices", 2.5),
        protocol.Error(None, "InputError", "No.", "", ""),
    )
    lines = [protocol.encode(each) for each in sent]

    def read(path: Path) -> None:
        line, failures = path.read_bytes(), []
        for side in (protocol.decode_request, protocol.decode_event):
            try:
                side(line)
            except QNetSegmentError as error:
                failures.append(error)
        if len(failures) == 2:
            raise failures[0]

    return lines[1], lambda luck: as_json(luck, json.loads(luck.choice(lines))), read


def description(folder: Path) -> tuple[bytes, Callable[[random.Random], bytes], Read]:
    from qnetseg_lab.data.description import Description

    case = {"name": "one", "labelled": True, "spacing": 1.0}
    tree = {
        "format": 2,
        "name": "d",
        "labels": {"liver": 1},
        "spacing": 1.25,
        "supervoxel_size": None,
        "cases": [case],
    }

    def read(path: Path) -> None:
        path.replace(folder / "dataset.json")
        Description.read(folder)

    return json.dumps(tree).encode(), lambda luck: as_json(luck, tree), read


def options(folder: Path) -> tuple[bytes, Callable[[random.Random], bytes], Read]:
    from qnetseg.segment import SegmentOptions

    tree = json.loads(json.dumps(SegmentOptions(method="q-net", slices=(1, 2), alpha=0.5).to_dict()))

    def read(path: Path) -> None:
        try:
            values = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            values = {"depth": 1}  # what the protocol refuses
        SegmentOptions.from_dict(values if isinstance(values, dict) else {"depth": 1})

    return json.dumps(tree).encode(), lambda luck: as_json(luck, tree), read


def account(folder: Path) -> tuple[bytes, Callable[[random.Random], bytes], Read]:
    """The report of a segmentation, from a worker or a scene; its callers turn these errors into theirs."""
    from qnetseg.errors import InputError
    from qnetseg.segment import Report
    from qnetseg.segment.result import SliceReport

    part = SliceReport(1, True, 0.5, 2, 30.5, False)
    whole = Report("Liver", "m", "cpu", "fp32", 1.5, 2.5, "axial", 0.0, (part,), ("Check it.",))

    def read(path: Path) -> None:
        try:
            Report.from_json(json.loads(path.read_bytes()))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError("It cannot be read.") from error

    return json.dumps(whole.to_json()).encode(), lambda luck: as_json(luck, whole.to_json()), read


RECIPES = (
    'steps = 5\nstart = "random"\n[model]\ndepth = 101\nalpha = 0.8\nsize = 256\n'
    '[[data]]\nname = "chaos"\nshare = 1\n'
    "[episodes]\npairs = 2\n[augmentation]\ngamma = [0.5, 1.5]\n[optimiser]\nrate = 1e-3\n",
    'method = "propagation"\nsteps = 5\nvolumes = []\n'
    "[model]\nwidths = [8, 8, 8, 8, 8]\n[windows]\nsides = [64]\noften = [1.0]\ndepth = 32\n",
)
ODD_TOML = (
    "-1",
    "0",
    "1e400",
    "inf",
    "nan",
    "9" * 4000,
    "0x" + "f" * 9000,
    "''",
    "'x'",
    "[]",
    "{}",
    "[" * 9000,
)
ODD_TOML += ("[[[[]]]]", "true", "1979-05-27", "{a = 1}", "[1, 'x']", "[-1]", "'\\ud800'", "8.5", "[1e400]")


def recipe(folder: Path) -> tuple[bytes, Callable[[random.Random], bytes], Read]:
    from qnetseg_lab.training import read_recipe

    def odd(luck: random.Random) -> bytes:
        lines = luck.choice(RECIPES).splitlines()
        place = luck.choice([number for number, line in enumerate(lines) if "=" in line])
        lines[place] = f"{lines[place].split('=')[0]}= {luck.choice(ODD_TOML)}"
        return "\n".join(lines).encode()

    return RECIPES[0].encode(), odd, read_recipe


KINDS = {
    each.__name__: each
    for each in (support, weights, checkpoint, manifest, message, description, recipe, options, account)
}


def main(folder: Path, files: int, kinds: list[str]) -> None:
    made = {kind: KINDS[kind](folder) for kind in kinds}
    for good, _, read in made.values():
        path = folder / "whole"
        path.write_bytes(good)
        read(path)  # everything is loaded that is needed, and the good file is one
    before = _memory()
    outcomes, wrong = Counter[str](), []
    for kind, (good, odd, read) in made.items():
        luck = random.Random(kind)
        other = made[luck.choice(kinds)][0]
        for number in range(files):
            path = folder / f"{kind}.{number}"
            path.write_bytes(odd(luck) if number % 2 else damaged_bytes(luck, good, other))
            outcomes[f"{kind}: {_outcome(kind, number, read, path, wrong)}"] += 1
            path.unlink(missing_ok=True)
    print(json.dumps({"outcomes": outcomes, "wrong": wrong, "grown": _memory() - before, "peak": _memory()}))


def _outcome(kind: str, number: int, read: Read, path: Path, wrong: list[str]) -> str:
    try:
        read(path)
        return "read"
    except QNetSegmentError as error:
        if not re.fullmatch(r".+[.?]", error.message, re.DOTALL) or len(str(error)) > 3000:
            wrong.append(f"{kind} {number}: no sentence: {str(error)[:200]!r}")
        return "refused"
    except BaseException:
        wrong.append(f"{kind} {number}: {traceback.format_exc()[-1500:]}")
        return "broke out"


def _memory() -> float:
    """Most memory that this program has held so far, in MB; getrusage counts that of the parent, too."""
    from qnetseg_lab.provenance import peak_gib

    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else peak_gib() * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
