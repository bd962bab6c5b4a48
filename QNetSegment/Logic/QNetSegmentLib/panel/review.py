"""What a review shows of a report: bars, the order in which slices need a look, sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slicer.i18n import tr as _

from .strip_chart import CONFIDENT, DOUBTFUL, DRAWN, EMPTY, Bar

if TYPE_CHECKING:
    from qnetseg.segment import Report, SliceReport

EMPTY_HEIGHT, FOUND_HEIGHT = 0.03, 0.08  # at least, to be seen


def plane_text(plane: str) -> str:
    """A plane in the user's language."""
    return {
        "auto": _("auto"),
        "axial": _("axial"),
        "coronal": _("coronal"),
        "sagittal": _("sagittal"),
        "short axis": _("short axis"),
        "oblique": _("oblique"),
    }[plane]


def is_doubtful(part: SliceReport, below: float) -> bool:
    """Whether a slice needs a look, also one left empty: not drawn, less confident than `below` (0 to 1)."""
    return not part.drawn and part.score < below


def bars(report: Report, below: float) -> list[Bar]:
    """One bar for every slice of the report."""
    shown = []
    for part in report.slices:
        if part.drawn:
            shown.append(Bar(part.index, 1.0, DRAWN))
            continue
        color = DOUBTFUL if is_doubtful(part, below) else CONFIDENT if part.occupied else EMPTY
        height = max(FOUND_HEIGHT, part.score) if part.occupied else EMPTY_HEIGHT
        shown.append(Bar(part.index, height, color))
    return shown


def slices_to_check(report: Report, below: float) -> list[int]:
    """Indices of the slices that need a look, the least confident first."""
    doubtful = [part for part in report.slices if is_doubtful(part, below)]
    return [part.index for part in sorted(doubtful, key=lambda part: (part.score, part.index))]


def slice_text(
    report: Report,
    index: int | None,
    below: float,
    position: str = "",
    section: str = "",
    own: int | None = None,
) -> str:
    """One sentence on the slice `index`; on all of them where it is None.

    position: where it lies. section: what its plane is called, if not as in the report. own: its index in the
    volume's file.
    """
    part = next((part for part in report.slices if part.index == index), None)
    if part is None and not any(part.occupied for part in report.slices):
        return _("Nothing was found.")
    if part is None:
        count = len(slices_to_check(report, below))
        if count == 0:
            return _("No slice is below {percent} %.").format(percent=round(100 * below))
        return _("{count} slices to check.").format(count=count) if count > 1 else _("1 slice to check.")
    where = (
        _("{plane} {position}").format(plane=plane_text(section or report.plane), position=position).strip()
    )
    sentence = _found_text(part, where, below)
    return (
        sentence
        if own is None
        else _("{sentence} Slice {own} of the file.").format(sentence=sentence, own=own)
    )


def _found_text(part: SliceReport, where: str, below: float) -> str:
    """What was found on the slice that lies at `where`."""
    if part.drawn:
        return _("{where}: as you drew it.").format(where=where)
    if not part.occupied and is_doubtful(part, below):
        return _("{where}: nothing found, confidence {percent} %.").format(
            where=where, percent=round(100 * part.score)
        )
    if not part.occupied:
        return _("{where}: nothing found.").format(where=where)
    return _("{where}: confidence {percent} %, {area:.1f} cm².").format(
        where=where, percent=round(100 * part.score), area=part.area_mm2 / 100
    )
