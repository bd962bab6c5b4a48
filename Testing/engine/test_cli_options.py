"""What `qnetseg segment` asks of the engine: method and its options, models, background, empty slices."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from qnetseg.cli import compute
from qnetseg.segment import SegmentOptions
from support.cli_bed import Bed, drawing_array, scan_array, write_image


@pytest.fixture
def bed(tmp_path, monkeypatch):
    bed = Bed(tmp_path)
    monkeypatch.setenv("QNETSEG_RESOURCES", str(bed.resources))
    monkeypatch.setenv("QNETSEG_MODELS", str(tmp_path / "downloads"))
    return bed


SAID = {"volume_ml": 0.0, "plane": "axial", "seconds": 0.0, "device": "cpu"}


@pytest.fixture
def asked(monkeypatch):
    """What the engine is asked for: pairs of support set and settings. It finds nothing."""
    noted = []

    def engine(model, device, options):
        def segment(support, query, background, drawn_on):
            noted.append(
                (
                    support,
                    {"model": model, "options": options, "background": background, "drawn_on": drawn_on},
                )
            )
            mask = np.zeros(query.shape, np.uint8)
            report = SimpleNamespace(
                to_json=lambda: {"structure": support.name, "slices": [], "warnings": [], **SAID}
            )
            return SimpleNamespace(mask=mask, confidence=mask.astype(np.float32), report=report)

        return segment

    monkeypatch.setattr(compute, "engine", engine)
    return noted


def test_options_of_the_method_reach_the_engine(bed, asked):
    assert bed.segment("--label", "1") == 0
    assert asked[0][1]["options"] == {"method": "volume", "precision": "auto"}
    own = ("--refinement", "released", "--alpha", "0.5", "--no-calibration", "--threads", "2")
    assert bed.segment("--label", "1", "--method", "q-net", "--precision", "fp32", *own) == 0
    options = SegmentOptions.from_dict(asked[1][1]["options"])
    assert (options.method, options.precision, options.threads) == ("q-net", "fp32", 2)
    assert (options.refinement.mode, options.alpha, options.calibrate) == ("released", 0.5, False)
    assert bed.segment("--label", "1", "--threads", "1") == 0
    assert asked[2][1]["options"] == {"method": "volume", "precision": "auto", "threads": 1}


def test_other_drawn_structures_are_background_on_their_own_volume_only(bed, asked):
    assert bed.segment() == 0
    drawn = drawing_array()
    assert [support.name for support, _ in asked] == ["label 1", "label 2"]
    assert np.array_equal(asked[0][1]["background"].placed(drawn.shape), drawn == 2)
    assert np.array_equal(asked[1][1]["background"].placed(drawn.shape), drawn == 1)
    asked.clear()
    assert bed.segment("--label", "1") == 0 and asked[0][1]["background"] is None
    asked.clear()
    other = write_image(bed.folder / "other.nrrd", scan_array(1))
    assert bed.segment("--support", other) == 0
    assert [settings["background"] for _, settings in asked] == [None, None]
    assert [settings["drawn_on"].shape for _, settings in asked] == [scan_array().shape] * 2


def test_slices_without_the_structures_are_told(bed, asked):
    assert bed.segment("--not-here", "0", "5", "3") == 0
    for support, _ in asked:
        assert [(part.index, bool(part.mask.any())) for part in support.slices] == [
            (0, False),
            (3, True),  # drawn on, whatever is said of it
            (5, False),
        ]


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [((), "tiny"), (("--method", "q-net"), "tiny-qnet"), (("--support",), "tiny-qnet")],
)
def test_only_networks_that_will_be_asked_are_looked_for(bed, asked, capsys, arguments, missing):
    arguments = (*arguments, bed.query) if "--support" in arguments else arguments
    for path in (bed.model, bed.qnet):
        aside = path.with_suffix(".aside")
        path.rename(aside)
        expected = 2 if path.stem == missing or (path == bed.model and "--support" in arguments) else 0
        assert bed.segment(*arguments) == expected, path
        assert ("is not on this machine" in capsys.readouterr().err) == (expected == 2)
        aside.rename(path)


def test_a_model_of_choice_of_either_kind(bed, asked):
    assert bed.segment("--label", "1", "--model", bed.model) == 0
    assert bed.segment("--label", "1", "--model", "tiny-qnet", "--method", "q-net") == 0
    assert bed.segment("--label", "1", "--model", "tiny-qnet", "--support", bed.query) == 0
    assert [settings["model"] for _, settings in asked] == [str(bed.model), "tiny-qnet", "tiny-qnet"]
