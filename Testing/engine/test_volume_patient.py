"""The patient that was drawn on, kept with a drawing in its file."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from qnetseg.errors import InputError
from qnetseg.volume import Patient, PatientImage, SupportSet, Volume, support_from_mask
from support.support_files import rewrite


@pytest.fixture
def with_patient(tmp_path):
    path = tmp_path / "whole.npz"
    volume = Volume(
        np.random.default_rng(1).normal(100, 20, (6, 8, 10)).astype(np.float32), np.diag([-1.5, -2, 5, 1])
    )
    mask = np.zeros(volume.shape, bool)
    mask[1:4:2, 1:5, 1:5] = True
    planes = np.random.default_rng(2).normal(size=(3, 16, 16)).astype(np.float32)
    structure = np.arange(3 * 16 * 16, dtype=np.uint8).reshape(3, 16, 16)
    patient = Patient(PatientImage.of(planes, (6.0, 1.25)), structure, 12.5)
    replace(support_from_mask(volume, mask, plane="axial"), patient=patient).save(path)
    return path


def test_the_patient_goes_with_the_drawing(with_patient):
    one, other = SupportSet.load(with_patient).patient, SupportSet.load(with_patient).patient
    assert one.image is other.image  # what was made of it for one structure serves for the next
    planes = np.random.default_rng(2).normal(size=(3, 16, 16)).astype(np.float32)
    assert np.abs(one.image.intensities - planes).max() < np.ptp(planes) / 500
    assert one.covered.max() == 1 and one.covered[0, 3, 3] == pytest.approx(0.2)
    assert (one.image.spacing, one.volume_ml) == ((6.0, 1.25), 12.5)
    with np.load(with_patient) as archive:
        assert json.loads(str(archive["header"]))["version"] == 3
    without = replace(SupportSet.load(with_patient), patient=None)
    without.save(with_patient)
    assert SupportSet.load(with_patient).patient is None


def test_another_process_gets_the_patient_without_what_was_made_of_it(with_patient):
    image = SupportSet.load(with_patient).patient.image
    image.memory.get("made", lambda: lambda: None)  # which cannot be pickled
    assert pickle.loads(pickle.dumps(image)) is image


PATIENT = {"values": [-1, 1], "spacing": [6, 1.25], "volume_ml": 12.5}


@pytest.mark.parametrize(
    "change",
    [
        {"header": {"patient": None}},
        {"header": {"patient": {}}},
        {"header": {"patient": PATIENT | {"values": [1, -1]}}},
        {"header": {"patient": PATIENT | {"values": [0, float("nan")]}}},
        {"header": {"patient": PATIENT | {"spacing": [6, 0]}}},
        {"header": {"patient": PATIENT | {"volume_ml": -1}}},
        {"patient_image": np.zeros((3, 16, 15), np.uint8)},
        {"patient_image": np.zeros((0, 16, 16), np.uint8)},
        {"patient_image": np.zeros((3, 16, 16), np.float32)},
        {"patient_structure": np.zeros((2, 16, 16), np.uint8)},
    ],
)
def test_a_patient_that_cannot_be_is_refused(with_patient, change):
    rewrite(with_patient, **change)
    with pytest.raises(InputError, match="not an example that QNetSegment saved"):
        SupportSet.load(with_patient)
