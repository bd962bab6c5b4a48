"""`dataset.json`: what a folder of prepared studies says about itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qnetseg.atomic import replacing
from qnetseg.errors import DatasetError

DESCRIPTION = "dataset.json"
_FORMAT = 2


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
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") != _FORMAT:
                raise ValueError("another format")
            cases = tuple(CaseDescription(**case) for case in content.pop("cases"))
            labels = {str(name): int(value) for name, value in content.pop("labels").items()}
            return cls(labels=labels, cases=cases, **content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DatasetError(
                f"The description {path} cannot be read.", "Run qnetseg data prepare again."
            ) from error
