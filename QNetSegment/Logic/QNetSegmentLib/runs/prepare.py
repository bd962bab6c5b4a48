"""From nodes and choices to a run that can be started: what the panel and the facade share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..scene.drawings import support_sets
from ..scene.volumes import pair_of, volume_of
from .scene_run import SceneRun

if TYPE_CHECKING:
    from qnetseg.volume import SupportSet

    from ..process.worker import Worker


def prepare_run(
    worker: Worker,
    query_node: Any,
    example: Any,
    support_node: Any = None,
    *,
    segment_ids: Sequence[str] | None = None,
    plane: str | None = None,
    model: str | None = None,
    options: dict[str, Any] | None = None,
    device: str = "auto",
    name: str | None = None,
    preview: bool = False,
) -> SceneRun:
    """A run that segments `query_node` after `example`, ready to start.

    example: a segmentation node drawn on `support_node` (None: on the query itself), or a SupportSet, or
    several of them. segment_ids: the segments to use, None for all that are not empty. plane: "axial",
    "coronal" or "sagittal", None to find it from the drawing. model: a name of the catalogue or a file, None
    for the default one. options: of `SegmentOptions`. name: of the result's node. preview: whether the result
    still has to be accepted.
    Raises the errors of `pair_of` and `support_sets`, and WeightsError.
    """
    if hasattr(example, "IsA"):
        query, supports, warnings = _from_drawing(
            query_node, example, support_node, segment_ids, plane, model
        )
    else:
        query, warnings = volume_of(query_node), []
        supports = list(example) if isinstance(example, (list, tuple)) else [example]
    return SceneRun(
        worker,
        query_node,
        supports,
        query,
        name=name,
        preview=preview,
        warnings=warnings,
        model=model,
        options=options,
        device=device,
    )


def _from_drawing(
    query_node: Any,
    drawing: Any,
    support_node: Any,
    segment_ids: Sequence[str] | None,
    plane: str | None,
    model: str | None,
) -> tuple[Any, list[SupportSet], list[str]]:
    drawn_on = support_node or query_node
    query, support, warnings = pair_of(query_node, drawn_on)
    supports = drawn_supports(drawing, drawn_on, support, segment_ids=segment_ids, plane=plane, model=model)
    return query, supports, warnings


def drawn_supports(
    drawing: Any,
    drawn_on: Any,
    volume: Any = None,
    *,
    segment_ids: Sequence[str] | None = None,
    plane: str | None = None,
    model: str | None = None,
) -> list[SupportSet]:
    """What is drawn on the volume node `drawn_on`, packed up as the model wants it; see `prepare_run`."""
    from qnetseg.models import resolve_model, top_percent

    return support_sets(
        drawing,
        drawn_on,
        volume or volume_of(drawn_on),
        segment_ids=segment_ids,
        plane=plane,
        top_percent=top_percent(resolve_model(model)),
    )
