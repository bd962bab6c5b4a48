"""Official Q-Net checkpoints: every tensor finds its place, and what does not fit is named."""

from __future__ import annotations

import pytest
import torch
import torchvision

from qnetseg.errors import WeightsError
from qnetseg.model import QNetConfig
from qnetseg_lab.weights.convert import OFFICIAL, convert_official, official_name
from qnetseg_lab.weights.pickles import read_state_dict


@pytest.fixture(scope="module")
def official():
    """Random tensors under the names and in the shapes of an official checkpoint."""
    with torch.device("meta"):
        resnet = torchvision.models.resnet101()
    shapes = {f"encoder.backbone.{key}": tuple(value.shape) for key, value in resnet.state_dict().items()}
    shapes |= {
        "encoder.reduce1.weight": (512, 1024, 1, 1),
        "encoder.reduce2.weight": (512, 2048, 1, 1),
        "encoder.reduce1d.weight": (1, 1000),
        "encoder.reduce1d.bias": (1,),
    }
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.rand(shape, generator=generator) if shape else torch.tensor(5)
        for key, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def converted(official):
    return convert_official(official)


def test_the_configuration_is_the_released_codes(converted):
    config = converted.config
    assert config == OFFICIAL
    assert (config.depth, config.downsample_layer) == (101, 4)
    assert (config.paths, config.threshold) == ("dual", "shared")
    assert (config.alpha, config.input_scale, config.input_shift) == (0.9, 1.0, 0.0)
    assert (config.cosine_scale, config.sharpness) == (20.0, 0.5)
    assert not converted.training


def test_every_tensor_is_taken_over(official, converted):
    own = {key: value for key, value in converted.state_dict().items() if not key.endswith("tracked")}
    assert {official_name(key) for key in own} == {key for key in official if not key.endswith("tracked")}
    assert all(torch.equal(value, official[official_name(key)]) for key, value in own.items())
    assert torch.equal(converted.encoder.reduce_fine.weight, official["encoder.reduce1.weight"])
    assert torch.equal(converted.encoder.reduce_coarse.weight, official["encoder.reduce2.weight"])


def test_the_threshold_is_the_official_heads(official, converted):
    pooled = torch.rand(2, 2048, dtype=torch.float64)
    hidden = pooled @ official["encoder.backbone.fc.weight"].double().T + official["encoder.backbone.fc.bias"]
    expected = hidden @ official["encoder.reduce1d.weight"].double().T + official["encoder.reduce1d.bias"]
    result = converted.threshold(pooled.float()).double()
    torch.testing.assert_close(result, expected.expand(-1, 2), rtol=1e-5, atol=0)


def test_a_checkpoint_that_does_not_fit_is_refused_by_its_own_names(official):
    wrong = {key: value for key, value in official.items() if key != "encoder.backbone.fc.bias"}
    wrong |= {"encoder.reduce1.weight": torch.zeros(512, 512, 1, 1), "decoder.weight": torch.zeros(1)}
    with pytest.raises(WeightsError) as caught:
        convert_official(wrong)
    assert caught.value.message == (
        "The tensors of the official checkpoint do not fit a ResNet-101 Q-Net:"
        " 1 missing (encoder.backbone.fc.bias); 1 unexpected (decoder.weight);"
        " 1 of another shape (encoder.reduce1.weight)."
    )


def test_another_configuration_must_fit(official):
    with pytest.raises(WeightsError, match=r"do not fit a ResNet-50 Q-Net: .* unexpected"):
        convert_official(official, QNetConfig(depth=50))


def test_a_checkpoint_is_read_from_its_file(tmp_path):
    path = tmp_path / "30000.pth"
    torch.save({"encoder.reduce1d.bias": torch.tensor([-3.0])}, path)
    assert read_state_dict(path)["encoder.reduce1d.bias"].tolist() == [-3.0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"30000\.pth is damaged"):
        read_state_dict(path)
    with pytest.raises(WeightsError, match="does not exist"):
        read_state_dict(tmp_path / "none.pth")
