"""`dataset.json`: what a folder of prepared studies says about itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qnetseg.atomic import replacing
from qnetseg.errors import DatasetError
from qnetseg.parsing import number, parse_json, parsing, read_text, short_text, whole

DESCRIPTION = "dataset.json"
_FORMAT = 2
_SPACINGS = (1e-6, 1e5)  # mm


@dataclass(frozen=True)
class CaseDescription:
    """One prepared study.

    Attributes:
        name: of its files below images/, labels/ and supervoxels/.
        labelled: whether it has a label file.
        spacing: in-plane mm; more than was asked for where the body would not fit.
    """

    name: str
    labelled: bool
    spacing: float


@dataclass(frozen=True)
class Description:
    """A prepared data set.

    Attributes:
        name: the folder's, for messages and result files.
        labels: structure name -> label value.
        spacing: in-plane mm that was asked for.
        supervoxel_size: smallest supervoxel in voxels; None where the body's size decided.
        cases: in the order that folds are cut from.
    """

    name: str
    labels: dict[str, int]
    spacing: float
    supervoxel_size: int | None
    cases: tuple[CaseDescription, ...]

    def write(self, folder: Path) -> None:
        """Write `dataset.json` whole or not at all. Raises `OutputError`."""
        content = {"format": _FORMAT, **asdict(self)}
        with replacing(folder / DESCRIPTION) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Description:
        """Read `dataset.json`. Raises `DatasetError` where it is damaged."""
        path = folder / DESCRIPTION
        with parsing(
            path.name,
            DatasetError,
            f"The description {path} cannot be read.",
            "Run qnetseg data prepare again.",
        ):
            content: dict[str, Any] = parse_json(read_text(path))
            if content.pop("format") != _FORMAT:
                raise ValueError("another format")
            cases = tuple(_case(**case) for case in content.pop("cases"))
            labels = {str(name): whole(value, 0, 1 << 30) for name, value in content.pop("labels").items()}
            short_text(content["name"])
            number(content["spacing"], *_SPACINGS)
            if content["supervoxel_size"] is not None:
                whole(content["supervoxel_size"], 1, 1 << 30)
            return cls(labels=labels, cases=cases, **content)


def _case(name: Any, labelled: Any, spacing: Any) -> CaseDescription:
    """A case from a file. Raises ValueError for an impossible one."""
    if Path(short_text(name, 250)).name != name or not isinstance(labelled, bool):
        raise ValueError("an impossible case")
    return CaseDescription(name, labelled, number(spacing, *_SPACINGS))
