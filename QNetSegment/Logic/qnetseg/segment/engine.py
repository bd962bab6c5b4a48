"""The one function that carries the product: `segment_volume`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from ..boxes import Box
from ..errors import InputError, MaskError
from ..model import Networks
from ..volume import Drawing, FileSlices, SupportSet, Volume, file_slices, obliqueness
from . import matching
from .across import Searcher, other_volume
from .anatomy import with_patient
from .decide import decided, slice_scores
from .drawn import propagate
from .images import model_grid
from .inference import Runner
from .job import Job
from .options import SegmentOptions
from .presence import DOUBTFUL, FOUND, NOT_HERE, Verdict, verdict
from .propagator import Propagator
from .query import Query, Stack
from .result import Report, Segmentation, SliceReport
from .scenes import Known
from .slice_by_slice import Prediction, predict

SMALL_PIXELS = 12  # drawn pixels below which a structure is hard to follow
COARSE = 1.5  # times Q-Net's own spacing; beyond it organs look much smaller than in its training
NOT_FOUND = "The structure was not found in this volume."
OBLIQUE_DEGREES = 20.0  # beyond it the drawn plane and the query's slices are different sections
GUESSED = 0.5  # highest score of a slice that was put together from strips: it has to be looked at
SMALL_SLICE = 0.08  # of the largest drawing's pixels; a lonely slice with less may be a click


@dataclass(frozen=True)
class _Ran:
    """A prediction, and by what it was made."""

    predicted: Prediction
    model: str
    device: str
    precision: str
    warnings: tuple[str, ...]


def segment_volume(
    example: SupportSet | Drawing,
    query: Query | Volume,
    networks: Networks,
    options: SegmentOptions | None = None,
    job: Job | None = None,
    background: Box | None = None,
    drawn_on: Query | Volume | None = None,
    further: Sequence[SupportSet] = (),
    result: np.ndarray | None = None,
) -> Segmentation:
    """Segment a volume from one or more drawn slices.

    On the volume that was drawn on the drawing is propagated (`drawn`); in another patient's the structure is
    found again first (`across`); `options.method` "q-net" predicts every slice on its own (`slice_by_slice`).

    Args:
        example: what was drawn on this very volume, or on `drawn_on`; or drawn slices of any patient.
        query: volume to segment, on any grid; a `Query` is prepared once for many structures and corrections,
            and what Q-Net sees of it is kept for the next call.
        networks: from `qnetseg.model.Networks`; only those that are needed are read.
        options: None for the defaults.
        job: told of the progress as (done, total, "slices"), and asked between windows or batches whether to
            go on; None for nobody.
        background: on the volume's own grid, where something else is known to be, such as other segments; the
            structure is never found there. None for nothing known.
        drawn_on: another patient's whole volume, whose slices were drawn on: with it the structure is found
            in the right place more often. None where it is not at hand, or comes with a support set.
        further: the same structure of other patients; they help to find it in one that was not drawn on.
        result: (K, J, I) bool, where the structure lies in the whole of `drawn_on`, see `with_patient`; None
            to segment it there anew.

    Returns:
        Mask and confidence on the query's own grid, and a report.

    Raises:
        Cancelled: the job was cancelled.
        MaskError, InputError, GeometryError, DeviceError, WeightsError: an input cannot be used.
        NetworkError: a network's answer is no number.
    """
    began = time.monotonic()
    options, job = options or SegmentOptions(), job or Job()
    if options.threads:
        torch.set_num_threads(options.threads)
    query = Query.of(query)
    other = None if drawn_on is None else Query.of(drawn_on)
    support = (other or query).pack(example) if isinstance(example, Drawing) else example
    if other is None:  # what was drawn on the very volume shows the structure best
        support, *further = sorted([support, *further], key=lambda one: one.volume_id != query.fingerprint)
    stack = query.stack(support)
    looked_at = _slices_to_look_at(options, len(stack.slices))
    known = _known(support, stack, background, query)
    if options.method == "volume" and stack.same_volume:
        ran = _drawn_volume(networks, stack, known, options, job)
    else:
        if options.method == "volume" and other is not None:
            support = with_patient(support, other, networks, options, job, result)
        ran = _by_qnet(networks, query, stack, [support, *further], looked_at, options, job)
    signs = ran.predicted.signs
    judged = None if signs is None else verdict(signs)
    if judged is not None and judged.outcome == NOT_HERE:
        # At most even odds: nothing is found, and the slices on which it might be are those to check.
        even = np.minimum(ran.predicted.probability, 0.5)
        ran = replace(ran, predicted=replace(ran.predicted, probability=even))
    mask, probability = decided(ran.predicted, known if stack.same_volume else None, options.clean_up)
    if known.others is not None:
        mask &= ~known.others
    report = Report(
        structure=support.name,
        model=ran.model,
        device=ran.device,
        precision=ran.precision,
        seconds=time.monotonic() - began,
        volume_ml=float(mask.sum()) * _voxel_ml(query),
        plane=support.plane,
        threshold_offset=ran.predicted.threshold_offset,
        warnings=(*_warnings(support, query, stack, mask, judged), *ran.warnings),
        slices=_slice_reports(ran.predicted, mask, looked_at, support, stack),
        outcome=_outcome(mask, judged),
        presence=None if judged is None else round(judged.probability, 4),
        signs=None if signs is None else asdict(signs),
    )
    return Segmentation(stack.native(mask.astype(np.uint8)), stack.native(probability), report)


def _drawn_volume(networks: Networks, stack: Stack, known: Known, options: SegmentOptions, job: Job) -> _Ran:
    model = networks.propagation
    propagator = Propagator(model.network, options)
    found = propagate(propagator, stack.slices, stack.spacing, known, job)
    nearest = matching.nearest(np.arange(len(stack.slices)), known.filled)
    predicted = Prediction(found.probability, nearest, 0.0, found.trust)
    return _Ran(
        predicted, model.name, propagator.device.type, propagator.precision, tuple(propagator.warnings)
    )


def _by_qnet(
    networks: Networks,
    query: Query,
    stack: Stack,
    examples: Sequence[SupportSet],
    looked_at: np.ndarray,
    options: SegmentOptions,
    job: Job,
) -> _Ran:
    """Another patient, or slice by slice: the two ways that need Q-Net."""
    model = networks.qnet
    support, config = examples[0], model.network.config
    grid, runner = model_grid(support, stack, config), Runner(model.network, options)
    warnings: list[str] = []
    if grid.spacing > COARSE * config.spacing:
        warnings.append(
            f"The field of view is large: the network works at {grid.spacing:.1f} mm, not"
            f" {config.spacing:g}; crop the volume for a finer outline."
        )
    if options.method == "q-net":
        predicted = predict(runner, stack, grid, support, looked_at, options, job)
    else:
        propagator = Propagator(networks.propagation.network, options)
        predicted = other_volume(Searcher(runner, propagator, query, options, job), stack, examples)
        warnings += propagator.warnings
    return _Ran(predicted, model.name, runner.device.type, runner.precision, (*warnings, *runner.warnings))


def _known(support: SupportSet, stack: Stack, background: Box | None, query: Query) -> Known:
    """What is known on the stack; no drawn slices where they are another patient's."""
    others = None
    if background is not None and not background.is_empty:
        others = stack.along(background.placed(query.shape))
    if not stack.same_volume:
        return Known({}, others)
    count, *shape = stack.slices.shape
    if any(part.index >= count or list(part.mask.shape) != shape for part in support.slices):
        raise MaskError(
            "The drawing has slices that the volume it was drawn on does not have.", "Save the example again."
        )
    return Known({part.index: part.mask > 0 for part in support.slices}, others)


def _voxel_ml(query: Query) -> float:
    """Volume of a voxel; the determinant also holds for sheared grids of a tilted gantry."""
    return abs(float(np.linalg.det(query.grid.ijk_to_ras[:3, :3]))) / 1000


def _slices_to_look_at(options: SegmentOptions, count: int) -> np.ndarray:
    if options.slices is None:
        return np.arange(count)
    chosen = np.array(options.slices, dtype=int)
    if not len(chosen) or (np.diff(chosen) <= 0).any() or chosen[0] < 0 or chosen[-1] >= count:
        raise InputError(
            f"The slices to look at must be ascending indices from 0 to {count - 1}.",
            "Choose slices inside the volume.",
        )
    return chosen


def _slice_reports(
    predicted: Prediction, mask: np.ndarray, looked_at: np.ndarray, support: SupportSet, stack: Stack
) -> tuple[SliceReport, ...]:
    pixel = stack.spacing[1] * stack.spacing[2]
    areas = [part.mask.sum() * part.spacing[0] * part.spacing[1] for part in support.filled]
    on_volume = support.slices if stack.same_volume else ()
    by_user = {part.index for part in on_volume if part.finished}
    most = defaultdict(lambda: 1.0, {part.index: GUESSED for part in on_volume if not part.finished})
    scores = slice_scores(predicted, mask, float(np.mean(areas)) / pixel)
    filled = support.filled
    return tuple(
        SliceReport(
            index=index,
            occupied=bool(mask[index].any()),
            drawn=index in by_user,
            score=1.0 if index in by_user else round(min(float(scores[index]), most[index]), 4),
            support_index=filled[chosen].index,
            area_mm2=float(mask[index].sum() * pixel),
        )
        for index, chosen in zip(looked_at.tolist(), predicted.support_of.tolist(), strict=True)
    )


def _outcome(mask: np.ndarray, judged: Verdict | None) -> str:
    if not mask.any():
        return NOT_HERE
    return FOUND if judged is None else judged.outcome


def _warnings(
    support: SupportSet, query: Query, stack: Stack, mask: np.ndarray, judged: Verdict | None
) -> list[str]:
    found = []
    if not mask.any():
        found.append(f"The structure was not found: {judged.reason}." if judged else NOT_FOUND)
    elif judged is not None and judged.outcome == DOUBTFUL:
        found.append(
            f"It is doubtful whether the structure is in this volume: {judged.reason}. Check every slice."
        )
    if max(int(part.mask.sum()) for part in support.filled) < SMALL_PIXELS:
        found.append("The drawn structure is very small; check every slice.")
    slices = file_slices(query.grid, support.plane, support.axes) if stack.same_volume else None
    found += _drawing_warnings(support, slices)
    if not stack.same_volume and obliqueness(query.image, support.axes) > OBLIQUE_DEGREES:
        found.append(
            "The volume is tilted by over 20 degrees against the one drawn on: its slices cut differently."
        )
    return found


def _drawing_warnings(support: SupportSet, slices: FileSlices | None) -> list[str]:
    """What the user should know of slices that were hardly drawn; slices: see `slices_text`."""
    found = []
    if support.strays:
        found.append(
            f"On {slices_text(support.strays, slices)} only a few voxels are drawn, which do not count as a"
            " drawing: erase them, or draw the structure there."
        )
    tilted = [part.index for part in support.slices if not part.finished]
    if tilted:
        found.append(
            "The drawing runs across neighbouring slices, as in a view that is tilted against them; it was"
            f" taken as a rough drawing of {slices_text(tilted, slices)}, which is not finished: draw in a"
            " view along the volume's own slices."
        )
    areas = {part.index: int(part.mask.sum()) for part in support.filled}
    small = [
        index
        for index, area in areas.items()
        if area < SMALL_SLICE * max(areas.values()) and not {index - 1, index + 1} & set(areas)
    ]
    if small:
        found.append(
            f"Very little is drawn on {slices_text(small, slices)}, which counts as drawn; check it."
        )
    return found


def slices_text(indices: Sequence[int], slices: FileSlices | None) -> str:
    """Canonical slices by the numbers that their file has, as in "slice 3" or "slices 3, 5".

    slices: how the file counts; None where the drawing's file is not known, which gives "2 slices".
    """
    if slices is None:
        return "one slice" if len(indices) == 1 else f"{len(indices)} slices"
    numbers = sorted(slices.at(index) for index in indices)
    return f"slice{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
