"""One study: read, compared with what is there, segmented, saved. The unit of work of every kind of batch."""

from __future__ import annotations

import traceback
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import replaceable
from ..errors import QNetSegmentError, heard_oddities, is_out_of_memory
from .finished import finished_before, recipe_of
from .plan import Plan
from .saving import save_dicom, save_results
from .studies import Study, StudyState
from .table import Row, rows_of

if TYPE_CHECKING:
    from ..segment import Query
    from ..segment.result import StructureResult
    from .plan import Segment


@dataclass(frozen=True)
class Ended:
    """How a study ended.

    Attributes:
        state: of the study.
        detail: the error's sentence, or that it was finished earlier.
        log: a traceback, of a fault of the program.
        rows: of the table; empty where its process could not say.
    """

    state: StudyState
    detail: str = ""
    log: str = ""
    rows: tuple[Row, ...] = ()


Endings = Generator[tuple[int, Ended], None, None]
"""Of the studies of a batch, in the order in which they end: their indices, and how they ended."""


class Runner:
    """Runs studies of one plan in this process; the engine is made for the first study that needs it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._engine: Segment | None = None

    def __call__(self, study: Study) -> Ended:
        """Run a study with a file and a target to its end; whatever goes wrong ends it and no other."""
        log = ""
        try:
            study.state, study.detail = self._run(study)
        except QNetSegmentError as error:
            study.state, study.detail = StudyState.FAILED, str(error)
        except Exception as error:
            study.state, study.detail, log = StudyState.FAILED, unexpected(error), traceback.format_exc()
        return Ended(study.state, study.detail, log, tuple(rows_of(study)))

    def _run(self, study: Study) -> tuple[StudyState, str]:
        """Whether it is done or was kept, and a sentence on that or on its DICOM segmentation."""
        from ..segment import Query
        from ..volume import read_volume

        assert study.target is not None and study.report is not None
        with heard_oddities() as oddities:
            query = Query.of(read_volume(study.source))
        recipe = self._recipe(query.fingerprint)
        if kept := finished_before(study, recipe, self._plan.redo):
            return StudyState.KEPT, kept
        for path in (study.target, study.report):
            replaceable(path)  # or the work would be lost
        results = self._segment(query)
        save_results(study, query.grid, results, recipe, oddities)
        plan, said = self._plan, ""
        if plan.dicom:
            said = save_dicom(study, query.grid, results, plan.model, plan.options, oddities)
        return StudyState.DONE, said

    def _recipe(self, image: str) -> dict[str, Any]:
        plan = self._plan
        supports = [example.support for example in plan.examples]
        whole = [example.is_whole for example in plan.examples]
        return recipe_of(image, supports, whole, plan.model, plan.options)

    def _segment(self, query: Query) -> list[StructureResult]:
        from ..segment.overlap import share_voxels
        from ..segment.result import Found, StructureResult

        if self._engine is None:
            self._engine = self._plan.make_engine(self._plan)
        found = [Found.of(self._engine(examples, query)) for examples in self._plan.structures]
        return [
            StructureResult(examples[0].support, examples[0].support.axes, mask, one.report)
            for examples, mask, one in zip(self._plan.structures, share_voxels(found), found, strict=True)
        ]


def unexpected(error: Exception) -> str:
    """A sentence for an error that nobody expected in a study."""
    if is_out_of_memory(error):
        return "There was not enough memory for this study."
    return f"The study failed inside the program ({f'{type(error).__name__}: {error}'[:200]})."


def absolute(study: Study) -> Study:
    """The same study for a process in another folder."""
    assert study.target is not None
    return Study(study.name, Path(study.source).absolute(), study.target.absolute())
