"""The same structures in many studies: what is finished stays finished, and one failure stops no other study.

Beside every result, `<name>.seg.nrrd`, lies its report, `<name>.seg.json` (not `<name>.json`, which
converters from DICOM write beside their images). The report says what the result was made of, so that a batch
that was broken off goes on where it ended, and a file that no batch wrote is never replaced.

The command line and Slicer's panel stand on it. Imports no torch; `engine` does when a study is segmented.
"""

from __future__ import annotations

from .finished import finished_before, recipe_of
from .plan import Example, Plan
from .saving import save_dicom, save_results
from .studies import Study, StudyState, folder_studies, plan_targets, require_writable
from .table import Row, line_of, require_own_table, rows_of, table_text, write_table

__all__ = [
    "Example",
    "Plan",
    "Row",
    "Study",
    "StudyState",
    "finished_before",
    "folder_studies",
    "line_of",
    "plan_targets",
    "recipe_of",
    "require_own_table",
    "require_writable",
    "rows_of",
    "save_dicom",
    "save_results",
    "table_text",
    "write_table",
]
