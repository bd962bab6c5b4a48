"""The three refinements of Eq. 7 to 9 against derivations by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden import reference
from qnetseg.errors import InputError
from qnetseg.model.refinement import Refinement, refine

TOLERANCE = 1e-5
THRESHOLD = -8.0


def _problem(seed=0, channels=6, size=8, extreme=0.0):
    """Query features with a blob like the prototype; `extreme` pushes the prototype out of their range."""
    rng = np.random.default_rng(seed)
    prototype = rng.normal(0.5, 1.0, channels)
    features = rng.normal(0, 0.6, (channels, size, size))
    features[:, 2:6, 1:5] += prototype[:, None, None] * 1.4
    prototype[0] += extreme
    prototype[1] -= extreme
    return prototype, features


def _refined(prototype, features, threshold=THRESHOLD, **options):
    result = refine(
        torch.tensor(prototype, dtype=torch.float32)[None, None],
        torch.tensor(features, dtype=torch.float32)[None],
        torch.tensor([threshold]),
        Refinement(**options),
        20.0,
        0.5,
    )[-1]
    return result[0, 0].numpy()


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("blend", [0.0, 0.5, 1.0])
def test_closed_form_blends_with_the_mean_of_the_query(steps, blend):
    prototype, features = _problem()
    expected = reference.refine_closed_form(prototype, features, THRESHOLD, steps, blend)
    result = _refined(prototype, features, mode="closed_form", steps=steps, blend=blend)
    np.testing.assert_allclose(result, expected, atol=TOLERANCE)
    assert (blend == 0) == np.allclose(result, prototype, atol=TOLERANCE)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_reconstruction_descends_the_papers_loss(seed):
    prototype, features = _problem(seed)
    expected = reference.refine_reconstruction(prototype, features, THRESHOLD, 7, 0.01)
    result = _refined(prototype, features, mode="reconstruction", steps=7, rate=0.01)
    np.testing.assert_allclose(result, expected, atol=TOLERANCE)


def test_a_reconstruction_step_is_the_finite_difference_of_the_stated_loss():
    prototype, features = _problem()
    mask = reference.confident(features, prototype, THRESHOLD)
    low, extent = features.min(), np.ptp(features)
    unit, rate, small = (prototype - low) / extent, 0.01, 1e-6
    step = (_refined(prototype, features, mode="reconstruction", steps=1, rate=rate) - prototype) / extent
    for channel in range(len(unit)):
        shift = np.eye(len(unit))[channel] * small
        slope = (
            reference.reconstruction_loss(unit + shift, features, mask)
            - reference.reconstruction_loss(unit - shift, features, mask)
        ) / (2 * small)
        assert step[channel] == pytest.approx(-rate * slope, abs=TOLERANCE)


def test_reconstruction_ends_at_the_mean_which_closed_form_takes_at_once():
    prototype, features = _problem()
    long = _refined(prototype, features, mode="reconstruction", steps=400, rate=0.05)
    direct = _refined(prototype, features, mode="closed_form", steps=400, blend=1.0)
    np.testing.assert_allclose(long, direct, atol=1e-3)


@pytest.mark.parametrize("extreme", [0.0, 6.0])
def test_the_hand_derived_released_gradient_is_right(extreme):
    prototype, features = _problem(extreme=extreme)
    mask = np.zeros(features.shape[1:], bool)
    mask[2:6, 1:5] = True
    gradient = reference.released_gradient(prototype, features, mask)
    for channel in range(len(prototype)):
        shift = np.eye(len(prototype))[channel] * 1e-6
        slope = (
            reference.released_loss(prototype + shift, features, mask)
            - reference.released_loss(prototype - shift, features, mask)
        ) / 2e-6
        assert gradient[channel] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("extreme", [0.0, 4.0])
def test_released_makes_seven_adam_steps_on_the_swapped_loss(seed, extreme):
    prototype, features = _problem(seed, extreme=extreme)
    rebuilt = reference.rebuilt_map(prototype, features, reference.confident(features, prototype, THRESHOLD))
    assert {rebuilt.min(), rebuilt.max()} <= set(prototype) or not extreme  # gradients flow through both
    expected = reference.refine_released(prototype, features, THRESHOLD)
    result = _refined(prototype, features, mode="released")
    assert np.abs(result - prototype).max() > 0.01
    np.testing.assert_allclose(result, expected, atol=TOLERANCE)


@pytest.mark.parametrize("mode", ["none", "closed_form", "reconstruction", "released"])
def test_a_structure_that_is_not_found_keeps_its_prototype(mode):
    prototype, features = _problem()
    result = _refined(prototype, features, threshold=-25.0, mode=mode)
    np.testing.assert_array_equal(result, prototype.astype(np.float32))


@pytest.mark.parametrize("mode", ["closed_form", "reconstruction", "released"])
def test_structures_and_images_are_refined_independently(mode):
    rng = np.random.default_rng(5)
    problems = [_problem(seed) for seed in range(3)]
    features = torch.tensor(np.stack([f for _, f in problems]), dtype=torch.float32)
    prototypes = torch.tensor(
        np.stack([[p, p + rng.normal(0, 0.3, p.shape)] for p, _ in problems]), dtype=torch.float32
    )
    thresholds = torch.tensor([-8.0, -10.0, -6.0])
    together = refine(prototypes, features, thresholds, Refinement(mode), 20.0, 0.5)[-1]
    for image in range(3):
        for structure in range(2):
            alone = refine(
                prototypes[image, structure][None, None],
                features[[image]],
                thresholds[[image]],
                Refinement(mode),
                20.0,
                0.5,
            )[-1]
            torch.testing.assert_close(together[image, structure], alone[0, 0], atol=1e-6, rtol=1e-6)


def test_released_works_where_gradients_are_off():
    prototype, features = _problem()
    expected = _refined(prototype, features, mode="released")
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            np.testing.assert_array_equal(_refined(prototype, features, mode="released"), expected)


def test_no_steps_change_nothing_and_an_unknown_mode_is_refused():
    prototype, features = _problem()
    result = _refined(prototype, features, mode="released", steps=0)
    np.testing.assert_array_equal(result, prototype.astype(np.float32))
    with pytest.raises(InputError, match="backwards"):
        Refinement("backwards")


def test_the_usual_numbers_of_each_mode():
    assert Refinement.usual("released") == Refinement("released", steps=7, rate=0.01)
    assert Refinement.usual("closed_form").steps == 1 and Refinement.usual("none").mode == "none"
    with pytest.raises(InputError):
        Refinement.usual("hope")
