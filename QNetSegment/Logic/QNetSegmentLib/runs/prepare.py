"""From nodes and choices to a run that can be started: what the panel and the facade share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from qnetseg.errors import InputError

from ..process.worker import Worker
from ..scene.accepted import accepted_results
from ..scene.drawings import drawings_of, drawn_segment_ids
from ..scene.others import others_than_drawn, visible_in
from ..scene.results import volume_of_result
from ..scene.volumes import pair_of, source_of
from .scene_run import SceneRun

if TYPE_CHECKING:
    from qnetseg.boxes import Box
    from qnetseg.volume import SupportSet


def prepare_run(
    worker: Worker,
    query_node: Any,
    example: Any,
    support_node: Any = None,
    *,
    segment_ids: Sequence[str] | None = None,
    plane: str | None = None,
    output: Any = None,
    **how: Any,
) -> SceneRun:
    """A run that segments `query_node` after `example`, ready to start.

    example: a segmentation node drawn on `support_node` (None: on the volume that it refers to, else on the
    query itself), or a SupportSet, or several of them. segment_ids: the segments to use, None for all that
    are not empty. plane: "axial", "coronal" or "sagittal", None to find it from the drawing. output: a
    segmentation of the query whose visible segments the structures may not run into, as into those beside
    them in the drawing, or None. how: the named arguments of `SceneRun`, and of `Worker.segment`.

    A drawing on another volume takes along the result that was accepted for it there.
    Raises InputError for an example that is neither, the errors of `pair_of` and `drawings_of`, and
    WeightsError.
    """
    _require_plane(plane)
    accepted: list[Box | None] = []
    if hasattr(example, "IsA") and example.IsA("vtkMRMLSegmentationNode"):
        drawn_on = support_node or volume_of_result(example) or query_node
        query, source, warnings = pair_of(query_node, drawn_on)
        drawn_ids = drawn_segment_ids(example, drawn_on, segment_ids)
        examples: list[Any] = drawings_of(example, drawn_on, source.grid, segment_ids=drawn_ids, plane=plane)
    else:
        query, examples, warnings, drawn_ids = source_of(query_node), _support_sets(example), [], []
        drawn_on, source = None, query
    if drawn_on is query_node:
        others = others_than_drawn(example, drawn_ids, query_node, output)
    else:  # the drawing lies in another patient
        others = [visible_in(output, query_node, but=found.name) for found in examples]
        if drawn_on is not None:
            accepted = accepted_results(example, drawn_on, drawn_ids)
    return SceneRun(
        worker,
        query_node,
        examples,
        query,
        None if source is query else source,
        warnings=warnings,
        drawn_ids=drawn_ids,
        others=others,
        accepted=accepted,
        **how,
    )


def _support_sets(example: Any) -> list[SupportSet]:
    from qnetseg.volume import SupportSet

    supports = list(example) if isinstance(example, (list, tuple)) else [example]
    if not supports or not all(isinstance(support, SupportSet) for support in supports):
        raise InputError(
            _("This cannot be an example: it is neither a segmentation nor a saved example."),
            _("Draw the structure on at least one slice of a segmentation."),
        )
    return supports


def _require_plane(plane: str | None) -> None:
    from qnetseg.volume import PLANES

    if plane is not None and plane not in PLANES:
        raise InputError(
            _("The plane '{plane}' is unknown.").format(plane=plane),
            _("Choose one of {planes}.").format(planes=", ".join(PLANES)),
        )
