"""Training of the propagation network: its windows, its loss and its learner."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch

from qnetseg.errors import DatasetError, RecipeError
from qnetseg.model import PropagationNet
from qnetseg.segment.drawn import EDGE, SHIFT, leading
from qnetseg_lab.training.distributed import Processes
from qnetseg_lab.training.learner import Ahead
from qnetseg_lab.training.propagation_learner import PropagationLearner, propagation_loss
from qnetseg_lab.training.propagation_throughput import made_up_tissue
from qnetseg_lab.training.synthesis import Division, Tissue, make_batch
from qnetseg_lab.training.synthesis.bodies import layout
from qnetseg_lab.training.synthesis.chance import Chance
from qnetseg_lab.training.synthesis.tissue import cut_out, find_place
from support.propagation_bed import RECIPE, WINDOWS, undisturbed

CPU = torch.device("cpu")


def windows(**changes):
    """Windows of one kind."""
    plain = {"shallow": 0.0, "moved": 0.0, "second": 0.0, "real": 0.0}
    return dataclasses.replace(WINDOWS, **{**plain, **changes})


KINDS = {
    "synthetic": windows(),
    "shallow": windows(depth=8, shallow=1.0),
    "moved": windows(moved=1.0),
    "second": windows(second=1.0),
    "real": windows(real=1.0, repainted=0.5),
}


@pytest.fixture(scope="module")
def tissues():
    """A volume in cubes with supervoxels alone, and one with a ball that somebody segmented."""
    k, j, i = np.indices((12, 40, 40))
    ball = (((k - 6) * 3) ** 2 + (j - 20) ** 2 + (i - 20) ** 2 < 150).astype(np.int32)
    image = torch.from_numpy(ball + 0.1 * np.random.default_rng(0).normal(size=ball.shape)).float()
    divisions = (Division.of(ball, CPU), Division.of(1 + ball, CPU))
    segmented = Tissue("ball", image, (3.0, 1.0, 1.0), divisions, 1)
    return [made_up_tissue(CPU, side=48, block=24), segmented]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    with undisturbed(monkeypatch):
        yield


def batches(kind, tissues, count=4):
    return [make_batch(KINDS[kind], tissues, CPU, 0, step) for step in range(count)]


# Windows


@pytest.mark.parametrize("kind", KINDS)
def test_batches_have_the_shapes_that_are_asked_for(kind, tissues):
    for sample in batches(kind, tissues):
        depth = {"shallow": 4, "moved": 24 + SHIFT}.get(kind, 24)
        batch = round(KINDS[kind].voxels / (depth * 32**2))
        scene, shape = sample.scene, (batch, depth, 32, 32)
        assert sample.moves == (kind == "moved")
        for part in (scene.image, scene.drawing, scene.valid, sample.target, sample.counts):
            assert part.shape == shape and part.dtype == torch.float32 and part.isfinite().all()
        assert scene.drawn.shape == scene.distance.shape == shape[:2]
        assert (scene.prior is not None) == (kind == "second")
        assert set(sample.target.unique().tolist()) <= {0.0, 1.0}
        assert (scene.gap > 0).all() and (scene.radius > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_lies_inside_the_volume_and_was_drawn(kind, tissues):
    for sample in batches(kind, tissues):
        scene, counts = sample.scene, sample.counts
        assert not (counts * (1 - scene.valid)).any() and not (sample.target * (1 - scene.valid)).any()
        assert scene.drawn.any(1).all()
        assert (scene.distance[scene.drawn] == 0).all() and (scene.distance[~scene.drawn] > 0).all()
        inside = (scene.drawing > 0) & (scene.valid > 0)
        assert not inside[~scene.drawn].any()  # elsewhere it is only said where the structure is not
        assert not (sample.target[~scene.drawn] * (scene.drawing[~scene.drawn] < 0)).any()
        asked = (counts > 0).flatten(1).any(1)
        assert inside.flatten(1).any(1)[asked].all()


@pytest.mark.parametrize("kind", ["synthetic", "second", "real"])
def test_a_drawing_is_the_structure_but_for_its_outline(kind, tissues):
    both = one = 0.0
    for sample in batches(kind, tissues, 8):
        where = sample.scene.drawn[:, :, None, None] & (sample.counts > 0)
        drawing, target = (sample.scene.drawing > 0) & where, (sample.target > 0) & where
        both += float((drawing & target).sum())
        one += float(drawing.sum() + target.sum())
    assert 0.8 < 2 * both / one < 1


def test_the_same_step_is_the_same_batch_and_another_is_not(tissues):
    recipe = WINDOWS
    one, again, other = (make_batch(recipe, tissues, CPU, 5, step) for step in (7, 7, 8))
    for name, value in vars(one.scene).items():
        assert value is getattr(again.scene, name) or torch.equal(value, getattr(again.scene, name))
    assert torch.equal(one.target, again.target) and torch.equal(one.counts, again.counts)
    assert one.target.shape != other.target.shape or not torch.equal(one.target, other.target)
    assert not torch.equal(make_batch(recipe, tissues, CPU, 6, 7).scene.image, one.scene.image)


def test_most_windows_hold_a_structure_that_goes_on_beyond_the_drawing(tissues):
    for kind in ("synthetic", "real"):
        asked = [(s.target * s.counts).flatten(1).any(1) for s in batches(kind, tissues, 8)]
        assert torch.cat(asked).float().mean() > 0.5


def test_a_first_look_is_about_the_target(tissues):
    for sample in batches("second", tissues):
        prior, target = sample.scene.prior, sample.target > 0
        assert ((prior >= 0) & (prior <= 1)).all()
        assert prior[target].mean() > prior[~target].mean() + 0.2


def test_a_real_window_shows_the_structure_where_it_is(tissues):
    ball = tissues[1:]
    for seed in range(5):
        luck = random.Random(seed)
        place = find_place(ball, luck, 1.0)
        assert (place.label, place.axis, place.joined) == (1, 0, 0)  # thick slices, and a segmentation
        image, cover, labels, valid, gap, position = cut_out(place, luck, 8, 32, 6.0, moves=False)
        assert image.shape == cover.shape == labels.shape == valid.shape == (8, 32, 32)
        inside = (cover[position] > 0.5) & (valid[position] > 0)
        assert inside.sum() > 20
        assert image[position][inside].mean() > 0.7 and image[position][~inside].mean() < 0.3
        assert gap > 0 and 2 <= position <= 5


def test_nobody_draws_a_sponge():
    _, j, i = np.indices((6, 32, 32))
    ball = (j - 16) ** 2 + (i - 16) ** 2 < 100
    sponge = ball & ((j + i) % 3 > 0)
    for mask, smooth in ((ball, True), (sponge, False)):
        division = Division.of(mask.astype(int) + 1, CPU)
        assert division.smooth[0][2] == smooth


def test_some_structures_are_what_a_wall_surrounds():
    chance = Chance(40, CPU, 3)
    planes = (torch.arange(8.0)[None] - 4).expand(40, -1) * 2
    made = layout(chance, planes, 1, 32, 2.0, torch.full((40,), 12.0))
    assert made.inner.any() and not made.inner.all()
    found, wall, cavity = (part[made.inner] < 1 for part in (made.target, made.body, made.cavity))
    assert found.any() and not (found & wall).any() and (found <= cavity).float().mean() > 0.99
    others = ~made.inner
    assert torch.equal(made.target[others], made.body[others])


def test_volumes_without_a_structure_are_refused():
    empty = Tissue("e", torch.zeros(4, 8, 8), (1.0, 1.0, 1.0), (Division.of(np.zeros((4, 8, 8)), CPU),), 0)
    with pytest.raises(DatasetError, match="no structure of 24 pixels"):
        find_place([empty], random.Random(0), 0.5)


# Loss


def test_the_loss_falls_with_the_right_answer_and_ignores_what_is_not_asked():
    target, counts = torch.zeros(2, 4, 16, 16), torch.ones(2, 4, 16, 16)
    target[:, :2, 4:12, 4:12] = 1
    counts[:, 0] = 0
    right, there = 20 * (2 * target - 1), torch.tensor([[9.0, 9, -9, -9]]).expand(2, -1)
    best = propagation_loss(right, there, target, counts)
    assert float(best.total) < 1e-3
    assert float(best.total) == pytest.approx(float(best.overlap + best.voxels + best.presence))
    worst = propagation_loss(-right, -there, target, counts)
    assert all(float(one) > float(other) for one, other in zip(worst, best, strict=True))
    changed = right.clone()
    changed[:, 0] = 5
    assert propagation_loss(changed, there, target, counts) == best
    nothing = propagation_loss(-right, -there, target, torch.zeros_like(counts))
    assert [float(value) for value in nothing] == [0, 0, 0, 0]


def test_planes_lead_before_the_structure_s_end_and_the_window_s():
    logits, presence = torch.full((1, 12, 4, 4), -5.0), torch.full((1, 12), 3.0)
    logits[:, :10, 1, 1] = 5
    presence[:, 6] = -1
    _, leads = leading(logits, presence)
    assert leads[0].nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 7] and EDGE == 4


# Learner


def learner(tissues, recipe=RECIPE, processes=None):
    torch.manual_seed(0)
    return PropagationLearner(PropagationNet(recipe.model), recipe, tissues, CPU, processes)


def test_a_batch_that_moves_on_knows_what_was_found_before(tissues, monkeypatch):
    recipe = dataclasses.replace(RECIPE, windows=KINDS["moved"])
    run = learner(tissues, recipe)
    known = slice(SHIFT, 24 - EDGE)  # planes of the first window that lead on
    sample = next(s for s in batches("moved", tissues, 9) if (s.counts * s.target)[:, known].any())

    def sees_all(seen):
        return 20 * (2 * sample.target[:, :24] - 1), torch.full(seen.shape[0:3:2], 9.0)

    monkeypatch.setattr(run, "_look", sees_all)
    seen, target, counts = run.seen(sample)
    assert seen.shape[2:] == target.shape[1:] == counts.shape[1:] == (24, 32, 32)
    assert torch.equal(target, sample.target[:, SHIFT:])
    drawing, before = seen[:, 2], sample.scene.drawing[:, SHIFT:]
    led = (drawing != before).flatten(2).any(2)
    assert led.any() and not led[:, 24 - SHIFT - EDGE :].any()
    assert drawing[led].abs().max() < 1 and not counts[led].any()  # found is less than drawn, and not asked
    assert not (counts * (1 - sample.counts[:, SHIFT:])).any()


def test_the_loss_falls_in_a_few_steps(tissues):
    quick = dataclasses.replace(RECIPE.optimiser, rate=1e-2, warmup=0)
    recipe = dataclasses.replace(RECIPE, steps=100, batches=1, windows=KINDS["shallow"], optimiser=quick)
    run = learner(tissues, recipe)
    batch = run.windows(0)
    run.windows = lambda number: batch  # the same again and again
    losses = [float(run.learn(step).total) for step in range(25)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_mean_of_the_weights_follows_them(tissues):
    run = learner(tissues)
    start = {key: value.clone() for key, value in run.network.state_dict().items()}
    run.learn(0)
    finished = run.finished().state_dict()
    assert any(not torch.equal(value, start[key]) for key, value in finished.items())
    for key, now in run.network.state_dict().items():
        torch.testing.assert_close(finished[key], start[key] + 0.95 * (now - start[key]))


def test_two_processes_share_the_batches(tissues):
    parts = [learner(tissues, processes=Processes(rank, 2)).share for rank in (0, 1)]
    assert parts == [slice(0, 1), slice(1, 2)]
    with pytest.raises(RecipeError, match="2 batches a step cannot be shared") as caught:
        learner(tissues, processes=Processes(0, 3))
    assert caught.value.advice == "Choose batches as a multiple of the processes."


def test_windows_that_are_made_ahead_are_the_same(tissues):
    recipe = dataclasses.replace(RECIPE, batches=4)
    plain, ahead = (learner(tissues, recipe, Processes(1, 2)) for _ in range(2))
    ahead.processes = plain.processes = Processes()  # whose gradients nobody adds
    made = []

    def make(number):
        made.append(number)
        return plain.make(number)

    ahead._ahead = Ahead(make, ahead._following)
    for step in range(2):
        assert ahead.learn(step) == plain.learn(step)
    ahead._ahead.pool.shutdown()
    assert made == [2, 3, 6, 7, 10]  # each once, and the first of the third step
