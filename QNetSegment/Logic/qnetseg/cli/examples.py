"""The examples of `qnetseg batch`: saved ones, and images with what was drawn on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .common import telling_oddities
from .inputs import read_drawings
from .saved import is_saved

if TYPE_CHECKING:
    from ..batch import Example


def read_examples(files: Sequence[Path]) -> tuple[tuple[Example, ...], ...]:
    """Of every structure, by its name, all examples, in the order in which they were named.

    files: EXAMPLE.npz, IMAGE MASK or IMAGE EXAMPLE.npz, one after the other. Raises InputError and its kinds.
    """
    structures: dict[str, list[Example]] = {}
    for image, drawing in _pairs(files):
        for drawn in _read(image, drawing):
            structures.setdefault(drawn.support.name, []).append(drawn)
    return tuple(map(tuple, structures.values()))


def _pairs(files: Sequence[Path]) -> Iterator[tuple[Path | None, Path]]:
    """Image, if it was named, and drawing."""
    image: Path | None = None
    for file in files:
        if image is None and not is_saved(file):
            image = file
        else:
            yield image, file
            image = None
    if image is not None:
        raise InputError(
            f"No mask is named after the image '{image}'.",
            "Give --support IMAGE MASK, or --support EXAMPLE.npz.",
        )


def _read(image: Path | None, drawing: Path) -> list[Example]:
    from ..batch import Example
    from ..segment import Query
    from ..volume import SupportSet, read_volume

    if image is None:
        return [Example(SupportSet.load(drawing))]
    with telling_oddities():
        volume = read_volume(image)
    whole, place = Query.of(volume), image.absolute()
    if is_saved(drawing):
        support = SupportSet.load(drawing)
        if support.volume_id != whole.fingerprint:
            raise InputError(
                f"The example '{drawing.name}' was not drawn on the volume '{image.name}'.",
                "Give the volume that it was drawn on, or the example alone.",
            )
        return [Example(support, place)]
    with telling_oddities():
        drawings = read_drawings(drawing, None, volume, own_support=True)
    return [Example(whole.pack(one), place) for _, one in drawings]
