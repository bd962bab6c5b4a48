"""What the tests of the protocols share: phantoms in the files of the development data."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from qnetseg.models import QNET
from qnetseg.volume import LabelMap, write_labelmap, write_volume
from qnetseg_lab.data import CATALOGUE
from qnetseg_lab.evaluation.body_phantom import body_phantom
from qnetseg_lab.evaluation.whole_volume import runner as whole_volume
from support.cli_bed import entry_of, write_manifest, write_model
from support.walker_network import simple_networks

SHAPE, SPACING = (10, 64, 64), (8.0, 4.0, 4.0)


def write_chaos_like(root, cases=20):
    """Phantoms in CHAOST2's files; the organ is the liver (1), the other labels are single slices of it."""
    for number in range(1, cases + 1):
        volume, organ = body_phantom(SHAPE, SPACING, seed=number)
        labels = organ.astype(np.int16)
        for value in (2, 3, 4):
            labels[2 * value - 1][organ[2 * value - 1] > 0] = value
        write_case(root, "chaos", number, volume.array, labels)


def write_case(root, dataset, number, image, labels, spacing=SPACING):
    """One case of a data set, its supervoxels being what is bright."""
    data = CATALOGUE[dataset]
    for pattern, array in (
        (data.images, image),
        (data.images.replace("image_", "label_"), labels),
        (data.supervoxels, (image > 150).astype(np.int16)),
    ):
        path = root / pattern.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = SimpleITK.GetImageFromArray(array)
        written.SetSpacing(spacing[::-1])
        SimpleITK.WriteImage(written, str(path))


class Handmade:
    """A scorer whose predictions are given: what is left of the protocol is choice of slices and measures.

    conditioned: list of what `condition` was asked; predictions: {(query, label): (K, J, I) bool}.
    """

    def __init__(self, predictions):
        self.predictions = predictions
        self.conditioned = []

    def condition(self, case, label, slices):
        self.conditioned.append((case.name, label, slices.tolist()))
        return case.name, label

    def masks(self, conditioned, query, slices, predict):
        return self.predictions[query.name, conditioned[1]][None, slices]


# Fixtures for test files to import. Here they have names of their own, which no argument of a test hides.


@pytest.fixture(name="phantoms", scope="module")
def phantom_patients(tmp_path_factory):
    """Folder of three phantom patients p1 to p3 and one whose label map is broken, as images with labels."""
    root = tmp_path_factory.mktemp("phantoms")
    for number in (1, 2, 3):
        volume, organ = body_phantom((14, 64, 64), (8.0, 4.0, 4.0), seed=number)
        write_volume(root / f"p{number}.nii.gz", volume)
        write_labelmap(root / f"p{number}_seg.nii.gz", LabelMap(organ, volume.ijk_to_ras, ()))
    write_volume(root / "p4.nii.gz", volume)
    (root / "p4_seg.nii.gz").write_bytes(b"broken")
    return root


@pytest.fixture(name="model", autouse=True)
def simple_models(monkeypatch, tmp_path):
    """Files of both default models and of a propagation network of choice, whose path is given; whatever is
    read from them is a network that needs no training."""
    folder = tmp_path / "resources" / "Models"
    folder.mkdir(parents=True)
    files = [
        write_model(folder / "tiny.safetensors"),
        write_model(folder / "tiny-qnet.safetensors", method=QNET),
    ]
    write_manifest(tmp_path / "resources", [entry_of(path) for path in files])
    monkeypatch.setenv("QNETSEG_RESOURCES", str(tmp_path / "resources"))
    monkeypatch.setattr(whole_volume, "load_networks", lambda name: simple_networks())
    whole_volume._loaded.cache_clear()
    yield str(write_model(tmp_path / "model.safetensors", "mine"))
    whole_volume._loaded.cache_clear()


def settings(phantoms, model, *methods, **values):
    """Arguments of R1, R2 and R3."""
    return {"dataset": str(phantoms), "methods": methods, "weights": model, "device": "cpu"} | values
