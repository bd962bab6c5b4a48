"""Carrying a drawing from slice to slice by likeness, with the drawn slice always in sight.

Every place of the next slice asks the places near it on the slices before, and the most alike places anywhere
on the drawn slice, what they are (as in video segmentation: Voigtlaender et al. 2019, FEELVOS; Jabri et al.
2020, Space-Time Correspondence as a Contrastive Random Walk).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .descriptors import Descriptors, sides

# Chosen on a few patients of CHAOST2 and CMR.
RADIUS = 3  # cells of 4 pixels around a place where it may have been on the slice before
MEMORY = 2  # slices before that are asked, beside the drawn one
ASKED = 10  # answers that count
SOFTNESS = 0.1  # of the likeness, over which answers lose their weight
NEARER = 0.01  # likeness lost for each squared cell of distance
ANYWHERE = 0.05  # likeness lost by places that are asked although they lie anywhere on the drawn slice
BEST_ANYWHERE = 3  # of the structure and of the background each
SURE = 2.0  # largest log-odds of an answer: evidence of its own may overrule it
GONE = 0.5  # the structure has ended on a slice without a place this likely


def propagate(
    descriptors: Descriptors,
    drawn: dict[int, Tensor],
    evidence: Tensor,
    anywhere: bool = True,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Probability of the structure on every slice.

    Args:
        descriptors: of S slices.
        drawn: slice -> (h, w) float32 in [0, 1], what is drawn there.
        evidence: (S, h, w) float32, log-odds that are known from elsewhere.
        anywhere: whether also places that are far away on the drawn slice are asked.
        check: called between slices; raises to stop.

    Returns:
        (S, h, w) float32. Between two drawn slices what comes from both, the nearer one counting more; 0
        beyond the slice on which the structure ends.
    """
    count = len(evidence)
    total, weight = torch.zeros_like(evidence), torch.zeros(count, 1, 1)
    for source, slices in _ways(sorted(drawn), count):
        carried = _carry(descriptors, source, drawn[source], slices, evidence, anywhere)
        for index, probability in zip(slices, carried, strict=True):
            check()
            share = 1 / abs(index - source)
            total[index] += share * probability
            weight[index] += share
    total /= weight.clamp(min=1e-6)
    for index, mask in drawn.items():
        total[index] = mask
    return total


def _ways(drawn: Sequence[int], count: int) -> Iterator[tuple[int, list[int]]]:
    """(drawn slice, slices from it up to the next drawn one or the end), in both directions."""
    for position, source in enumerate(drawn):
        above = drawn[position + 1] if position + 1 < len(drawn) else count
        below = drawn[position - 1] if position else -1
        yield source, list(range(source + 1, above))
        yield source, list(range(source - 1, below, -1))


def _carry(
    descriptors: Descriptors,
    source: int,
    mask: Tensor,
    slices: Sequence[int],
    evidence: Tensor,
    anywhere: bool,
) -> Iterator[Tensor]:
    known = {source: mask}
    drawn = _Anywhere(descriptors, source, mask) if anywhere else None
    for index in slices:
        memory = list(dict.fromkeys([source, *list(known)[-MEMORY:]]))
        found = torch.zeros_like(mask)
        if float(known[next(reversed(known))].max()) >= GONE:
            window = _reach(torch.stack([known[i] for i in memory]))
            likeness, labels = _near(descriptors, index, {i: known[i] for i in memory}, window)
            if drawn is not None:
                far = drawn.best(index, window)
                likeness, labels = (torch.cat(pair) for pair in zip((likeness, labels), far, strict=True))
            best, chosen = likeness.topk(min(ASKED, len(likeness)), dim=0)
            answer = (torch.softmax(best / SOFTNESS, dim=0) * labels.gather(0, chosen)).sum(dim=0)
            odds = torch.logit(answer.clamp(1e-6, 1 - 1e-6)).clamp(-SURE, SURE)
            found[window] = torch.sigmoid(odds + evidence[index][window])
        known[index] = found
        yield found


def _reach(masks: Tensor) -> tuple[slice, slice]:
    """Rows and columns that the structure of (n, h, w) masks can reach by the next slice."""
    places = torch.nonzero((masks > 0.05).any(dim=0))
    low, high = places.amin(dim=0) - RADIUS - 1, places.amax(dim=0) + RADIUS + 2
    return slice(max(int(low[0]), 0), int(high[0])), slice(max(int(low[1]), 0), int(high[1]))


def _near(
    descriptors: Descriptors, index: int, memory: dict[int, Tensor], window: tuple[slice, slice]
) -> tuple[Tensor, Tensor]:
    """Likeness and label (n, rows, columns) of the places near each place of the window."""
    features = descriptors.features[index][(slice(None), *window)]
    intensities = descriptors.intensities[(index, slice(None), *window)]
    likeness, labels = [], []
    for other, mask in memory.items():
        seen = torch.cat(
            [
                descriptors.features[other][(slice(None), *window)],
                descriptors.intensities[(other, slice(None), *window)],
                mask[window][None],
                torch.ones_like(mask[window])[None],
            ]
        )
        split = [len(features), len(intensities), 1, 1]
        padded = torch.nn.functional.pad(seen, (RADIUS,) * 4)
        for rows, columns in _OFFSETS:
            moved = padded[:, rows : rows + seen.shape[1], columns : columns + seen.shape[2]]
            there, brightness, label, exists = moved.split(split)
            far = (rows - RADIUS) ** 2 + (columns - RADIUS) ** 2
            alike = (features * there).sum(dim=0) - (intensities - brightness).square().sum(dim=0)
            likeness.append((alike - NEARER * far).masked_fill(exists[0] == 0, -torch.inf))
            labels.append(label[0])
    return torch.stack(likeness), torch.stack(labels)


_OFFSETS = [
    (row, column)
    for row in range(2 * RADIUS + 1)
    for column in range(2 * RADIUS + 1)
    if (row - RADIUS) ** 2 + (column - RADIUS) ** 2 <= RADIUS**2
]


class _Anywhere:
    """The places of structure and background on the drawn slice, wherever they are: inside a large organ all
    places near are of the organ, however little they resemble it."""

    def __init__(self, descriptors: Descriptors, source: int, mask: Tensor) -> None:
        factors = descriptors.factors(source, right=True)
        self._descriptors = descriptors
        self._drawn = [
            (float(label), factors[:, side]) for label, side in enumerate(sides(mask)) if side.any()
        ]
        self._room = torch.empty(0)  # for a product; asked of the system anew, it takes longer than that

    def best(self, index: int, window: tuple[slice, slice]) -> tuple[Tensor, Tensor]:
        """Likeness and label (n, rows, columns) of the most alike places of both for each of the window."""
        size = self._descriptors.size
        here = self._descriptors.factors(index).unflatten(1, size)[(slice(None), *window)]
        shape, places = here.shape[1:], here.flatten(1).T.contiguous()
        likeness, labels = [], []
        for label, drawn in self._drawn:
            wanted = len(places) * drawn.shape[1]
            if len(self._room) < wanted:
                self._room = torch.empty(wanted)
            alike = torch.mm(places, drawn, out=self._room[:wanted].view(len(places), -1))
            best = alike.topk(min(BEST_ANYWHERE, drawn.shape[1]), dim=1)[0].T - ANYWHERE
            likeness.append(best)
            labels.append(torch.full_like(best, label))
        return torch.cat(likeness).unflatten(1, shape), torch.cat(labels).unflatten(1, shape)
