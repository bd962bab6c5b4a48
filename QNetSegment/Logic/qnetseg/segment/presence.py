"""How likely it is that a structure is in another patient's volume at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from math import exp

OUTCOMES = FOUND, DOUBTFUL, NOT_HERE = "found", "doubtful", "not here"
MOST_MISSING = 0.5  # share of the structure
LITTLE_ALIKE = 0.88  # similarity, by hand: on CHAOST2 and CMR nine of ten that are there reach it in R3


@dataclass(frozen=True)
class Signs:
    """What speaks for or against it.

    Attributes:
        alike: similarity of the drawn places to the most similar places of the volume, from -1 to 1.
        beside: the same less that of what lies around the drawings: where a scanner makes everything look
            different, both are low.
        confidence: of the most confident slice, 0 to 1.
        back: Dice of the drawing with what is found on its slice from the result.
        agreement: Dice of the results of two ways, 0 where one of them finds nothing; 1 where only the drawn
            slices are known, which leave one way.
        place: Dice of the result with the place of the alignment; None where that is not known.
        share: of the example's structure that lies on slices which the volume has; 1 where that is not known.
        size: how many times larger or smaller than expected the result is, as the logarithm's absolute value.
    """

    alike: float
    beside: float
    confidence: float
    back: float
    agreement: float
    place: float | None
    share: float
    size: float


SIGNS = tuple(field.name for field in fields(Signs))


@dataclass(frozen=True)
class Judge:
    """A logistic regression on the signs, and what follows from the probability.

    Attributes:
        weights: the constant, and one of each sign.
        absent: probability below which nothing counts as found.
        doubtful: probability below which the user is warned.
    """

    weights: tuple[float, ...]
    absent: float
    doubtful: float

    def probability(self, signs: Signs) -> float:
        """Of the structure's presence."""
        constant, *weights = self.weights
        values = (value or 0.0 for value in astuple(signs))
        odds = constant + sum(weight * value for weight, value in zip(weights, values, strict=True))
        return 1 / (1 + exp(-max(-500.0, odds)))


# From docs/results/presence.json, which `qnetseg evaluate presence` makes of results of R3.
WHOLE = Judge((-10.04, 5.907, 7.868, 1.305, -0.885, 1.321, 0.586, 5.028, -1.126), 0.5, 0.789)
"""Where the whole volume is known that was drawn on."""
ALONE = Judge((-16.985, 15.753, 4.331, 4.959, -1.313, 0.0, 0.0, 0.0, -1.572), 0.308, 0.416)
"""Where only the drawn slices are known."""


@dataclass(frozen=True)
class Verdict:
    """Whether the structure is there.

    Attributes:
        probability: of its presence.
        outcome: one of `OUTCOMES`.
        reason: what speaks most against it, as a part of a sentence.
    """

    probability: float
    outcome: str
    reason: str


def verdict(signs: Signs) -> Verdict:
    """Judge the signs."""
    judge = ALONE if signs.place is None else WHOLE
    likely = judge.probability(signs)
    outcome = NOT_HERE if likely < judge.absent else DOUBTFUL if likely < judge.doubtful else FOUND
    return Verdict(likely, outcome, _reason(signs))


def clearest(signs: Sequence[Signs]) -> Signs:
    """Those with the best verdict. The outcome goes first, since judges differ in their limits."""

    def rank(one: Signs) -> tuple[int, float]:
        judged = verdict(one)
        return -OUTCOMES.index(judged.outcome), judged.probability

    return max(signs, key=rank)


def _reason(signs: Signs) -> str:
    if signs.share < MOST_MISSING:
        return "the place where it should be lies beyond the slices of this volume"
    if signs.alike < LITTLE_ALIKE:
        return "nothing in this volume looks much like the drawing"
    return "what was found does not fit the drawing well"
