"""What the tests of the command line share: a folder with a small scan, a drawing and a catalogue."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from safetensors.numpy import save_file

from qnetseg.cli import common, main
from qnetseg.models import PROPAGATION, QNET, kind_of
from qnetseg.segment import Job
from support import fake_engine as fakes

SHAPE = (6, 24, 20)


def scan_array(seed: int = 0) -> np.ndarray:
    """(K, J, I) float32: noise with a bright box (label 1) and a very bright one (label 2)."""
    array = np.random.default_rng(seed).random(SHAPE, dtype=np.float32)
    array[2:5, 8:16, 6:14] += 2
    array[1:4, 2:6, 2:8] += 4
    return array


def drawing_array() -> np.ndarray:
    """(K, J, I) uint8: both boxes on one slice."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[3, 8:16, 6:14] = 1
    mask[3, 2:6, 2:8] = 2
    return mask


def write_image(path: Path, array: np.ndarray, vector: bool = False, origin: float = 0.0) -> Path:
    """Write an array as an image of 1.5 x 1.5 x 4 mm voxels."""
    image = sitk.GetImageFromArray(array, isVector=vector)
    image.SetSpacing((1.5, 1.5, 4.0, 1.0)[: image.GetDimension()])
    image.SetOrigin((origin, 0.0, 0.0, 0.0)[: image.GetDimension()])
    sitk.WriteImage(image, str(path))
    return path


def fake_engine(do: str = "answer"):
    """In the place of `compute.engine`: finds the bright voxels, or does what fake_engine.py says."""

    def engine(model, device, options):
        def segment(support, query, background, drawn_on):
            options = {"do": do}
            task = SimpleNamespace(support=support, query=query, model=model, options=options, device=device)
            with common.Bar(support.name) as bar:
                return fakes.segment(task, Job(bar.show))

        return segment

    return engine


def write_model(path: Path, name: str = "weights", method: str = PROPAGATION) -> Path:
    """A safetensors file of the right form; its tensors make no network. name: by which files differ."""
    metadata = {
        "format": "qnetseg-1",
        "method": method,
        "config": json.dumps({}),
        "provenance": json.dumps({"licence": "test licence"}),
    }
    save_file({name: np.arange(64, dtype=np.float32)}, path, metadata)
    return path


def entry_of(path: Path, **changes: object) -> dict[str, object]:
    """The manifest's entry of a file."""
    entry = {
        "name": path.stem,
        "file": path.name,
        "size": path.stat().st_size,
        "licence": "test licence",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "description": "A test model.",
        "method": kind_of(path),
    }
    return {**entry, **changes}


def write_manifest(resources: Path, entries: list[dict[str, object]]) -> None:
    """The catalogue `Models/manifest.json` below `resources`; `tiny` and `tiny-qnet` are the defaults."""
    content = {"defaults": {PROPAGATION: "tiny", QNET: "tiny-qnet"}, "models": entries}
    (resources / "Models" / "manifest.json").write_text(json.dumps(content), encoding="utf-8")


class Bed:
    """A folder with query, mask and an empty output folder, and the resources of an installation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.results.mkdir()
        self.resources = folder / "resources"
        (self.resources / "Models").mkdir(parents=True)
        self.query = write_image(folder / "scan.nii.gz", scan_array())
        self.mask = write_image(folder / "drawing.nii.gz", drawing_array())
        self.output = self.results / "out.seg.nrrd"
        self.model = write_model(self.resources / "Models" / "tiny.safetensors")
        self.qnet = write_model(self.resources / "Models" / "tiny-qnet.safetensors", method=QNET)
        write_manifest(self.resources, [entry_of(self.model), entry_of(self.qnet)])

    def segment(
        self, *more: object, query: Path | None = None, mask: Path | None = None, output: Path | None = None
    ) -> int:
        """Run `qnetseg segment`; the exit code."""
        arguments = [
            query or self.query,
            "--mask",
            mask or self.mask,
            "--output",
            output or self.output,
            *more,
        ]
        return main(["segment", *map(str, arguments)])


def bed_with_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    """A bed whose catalogue, the one that commands read, has two shipped models and one to download."""
    bed = Bed(tmp_path)
    monkeypatch.setenv("QNETSEG_RESOURCES", str(bed.resources))
    monkeypatch.setenv("QNETSEG_MODELS", str(tmp_path / "downloads"))
    source = write_model(tmp_path / "big.safetensors", "other")
    entries = [entry_of(bed.model, seconds=12.5), entry_of(bed.qnet), entry_of(source, url=source.as_uri())]
    write_manifest(bed.resources, entries)
    return bed


@pytest.fixture
def bed(tmp_path, monkeypatch):
    """A `Bed` whose models are the only ones, with an engine that needs no torch."""
    bed = Bed(tmp_path)
    monkeypatch.setenv("QNETSEG_RESOURCES", str(bed.resources))
    monkeypatch.setattr("qnetseg.cli.compute.engine", fake_engine())
    return bed
