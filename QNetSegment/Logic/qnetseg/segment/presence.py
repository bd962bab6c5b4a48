"""How likely it is that a structure is in another patient's volume at all."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from math import exp


@dataclass(frozen=True)
class Signs:
    """What speaks for or against it.

    Attributes:
        alike: similarity of the drawn places to the most similar places of the volume, from -1 to 1.
        beside: the same less that of what lies around the drawings: where a scanner makes everything look
            different, both are low.
        confidence: of the most confident slice, 0 to 1.
        back: Dice of the drawing with what is found on its slice from the result.
        agreement: mean Dice of the results of two ways; 1 where there is but one.
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


def presence_probability(signs: Signs) -> float:
    """Of the structure's presence, by logistic regression."""
    constant, *weights = ALONE if signs.place is None else WHOLE
    odds = constant + sum(
        weight * (value or 0.0) for weight, value in zip(weights, astuple(signs), strict=True)
    )
    return 1 / (1 + exp(-odds))


SIGNS = tuple(field.name for field in fields(Signs))
ABSENT, DOUBTFUL = 0.0, 0.0
WHOLE = (0.0,) * (1 + len(SIGNS))
ALONE = (0.0,) * (1 + len(SIGNS))
