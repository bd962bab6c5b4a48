"""The second look at the outline, and what windows leave slice by slice."""

from __future__ import annotations

import numpy as np
import torch

from qnetseg.segment import SegmentOptions
from qnetseg.segment.drawn import propagate
from qnetseg.segment.planes import Planes
from qnetseg.segment.propagator import Propagator
from qnetseg.segment.scenes import Known
from qnetseg_lab.evaluation.metrics import dice
from support.walker_network import walker_model


def star(count, size, radius):
    """A bright body whose outline has teeth that coarse pixels cannot show, and its mask."""
    rows, columns = np.indices((size, size)) - (size - 1) / 2
    angle = np.arctan2(rows, columns)
    edge = radius * (1 + 0.06 * np.sin(24 * angle))
    mask = np.broadcast_to(np.hypot(rows, columns) < edge, (count, size, size)).copy()
    noise = np.random.default_rng(0).normal(0, 0.05, mask.shape)
    return (mask + noise).astype(np.float32), mask


class Counting(Propagator):
    """Counts the windows."""

    looks = 0

    def look(self, scene, appearance):
        self.looks += 1
        return super().look(scene, appearance)


def propagator():
    return Counting(walker_model().network, SegmentOptions(device="cpu", precision="fp32"))


def test_a_second_look_draws_a_finer_outline():
    image, truth = star(6, 320, 70)
    results = []
    for again in (False, True):
        looking = propagator()
        found = propagate(looking, image, (8.0, 1.0, 1.0), Known({3: truth[3]}), again=again)
        results.append((dice(found.probability > 0.5, truth), looking.looks))
    assert results[1][0] > results[0][0] > 0.9
    assert results[1][1] > results[0][1]


def test_there_is_no_second_look_where_pixels_are_as_fine_as_the_image_s():
    image, truth = star(6, 96, 20)
    looking = propagator()
    propagate(looking, image, (8.0, 1.0, 1.0), Known({3: truth[3]}))
    assert looking.looks == 1


def test_slices_are_interpolated_between_known_ones_and_empty_outside_them():
    planes = Planes((6, 4, 5))
    planes.put(1, ((0, 2), (0, 5)), torch.full((2, 5), 2.0), 0.2)
    planes.put(3, ((0, 4), (0, 5)), torch.full((4, 5), 4.0), 0.6)
    assert planes.known() == [1, 3]
    middle = planes.at(2)
    assert torch.equal(middle[:2], torch.full((2, 5), 3.0)) and torch.isinf(middle[2:]).all()
    assert planes.presence().tolist() == np.array([0, 0.2, 0.4, 0.6, 0, 0], np.float32).tolist()
    probability = planes.probability()
    assert probability.shape == (6, 4, 5)
    assert not probability[[0, 4, 5]].any() and not probability[1, 2:].any()
    planes.drop(0, 2)
    assert planes.known() == [3]
