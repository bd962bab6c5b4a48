"""The codes of a Slicer terminology entry, in the terms of a DICOM segment.

An entry is context~category~type~type modifier~region context~region~region modifier, and each code in it
scheme^value^meaning. Sources: vtkSlicerTerminologiesModuleLogic of 3D Slicer; DICOM PS3.3, C.8.20.4, table
8.8-1, and PS3.16, CID 7150 and 7151.
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_SCHEME, LONGEST_VALUE, LONGEST_TEXT = 16, 64, 64
"""Characters of CodingSchemeDesignator (SH), of a code that is kept whole, and of CodeMeaning (LO)."""


@dataclass(frozen=True)
class TermCode:
    """A coded concept, such as SCT 85756007, "Tissue"."""

    scheme: str
    value: str
    meaning: str


TISSUE = TermCode("SCT", "85756007", "Tissue")
"""Category and type of a segment of which nothing else is known, as in Slicer."""


@dataclass(frozen=True)
class Terms:
    """What a segment is; modifiers such as the side, and the region of the body: None where not stated."""

    category: TermCode = TISSUE
    kind: TermCode = TISSUE
    kind_modifier: TermCode | None = None
    region: TermCode | None = None
    region_modifier: TermCode | None = None


def terms_of(entry: str) -> Terms:
    """The codes of a terminology entry; those of unspecified tissue if it names no category and type."""
    _, *parts = f"{entry.strip().rstrip('|')}~~~~~~".split("~")
    category, kind, kind_modifier, _, region, region_modifier = (_code(part) for part in parts[:6])
    if category is None or kind is None:
        return Terms()
    return Terms(category, kind, kind_modifier, region, region_modifier if region else None)


def _code(text: str) -> TermCode | None:
    parts = [" ".join(part.replace("\\", " ").split()) for part in text.split("^")]
    if len(parts) != 3 or not all(parts):
        return None
    scheme, value, meaning = parts
    if len(scheme) > LONGEST_SCHEME or len(value) > LONGEST_VALUE:
        return None
    return TermCode(scheme, value, meaning[:LONGEST_TEXT])
