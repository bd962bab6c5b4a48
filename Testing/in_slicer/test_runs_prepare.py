"""What a run gets from the nodes that it is prepared from."""

from __future__ import annotations

# First, because the scene adapter can be imported only when the session runs.
from support.scene_bed import SHAPE, add_volume, blob, draw, empty_scene, linear, put_under  # noqa: F401

# isort: split

from types import SimpleNamespace

import numpy as np
import pytest

from qnetseg.boxes import Box
from qnetseg.segment.result import Found, Report, StructureResult
from qnetseg.volume import ANATOMICAL_AXES, Drawing
from QNetSegmentLib.runs.prepare import prepare_run
from QNetSegmentLib.scene.reports import store_reports
from QNetSegmentLib.scene.results import write_result
from QNetSegmentLib.signals import Signal
from support.masks import write_segment

WHOLE = blob()
ONE = np.where(np.arange(SHAPE[0])[:, None, None] == 2, WHOLE, False)  # what is drawn: one slice
ELSEWHERE = ~WHOLE


class ScriptedWorker:
    """Finds nothing, and keeps what it was asked."""

    def __init__(self):
        self.ready, self.progress, self.finished, self.failed = Signal(), Signal(), Signal(), Signal()
        self.device, self.asked = "cpu", []

    def segment(self, example, query, drawn_on, **known):
        self.asked.append(SimpleNamespace(name=example.name, drawn_on=drawn_on, **known))
        return str(len(self.asked))

    def results(self, query_node, *example, **options):
        """Prepare a run, see it through; (K, J, I) bool for each structure that it asks for, or None."""
        self.asked.clear()
        run = prepare_run(self, query_node, *example, **options)
        run.start()
        while run.active:
            report = Report("x", "m", "cpu", "fp32", 0.1, 0.0, "axial", 0.0, (), ())
            self.finished.emit(str(len(self.asked)), Found(Box.empty(), np.zeros(0, np.float32), report))
        return [None if one.result is None else one.result.placed(SHAPE) for one in self.asked]


def accepted(volume, drawn_ids, masks):
    """A segmentation of a volume with results that the user has accepted."""
    found = []
    for mask in masks:
        report = Report("x", "m", "cpu", "fp32", 0.1, 1.5, "axial", 0.0, (), ())
        found.append(
            StructureResult(Drawing(Box.around(mask), "x"), ANATOMICAL_AXES, Box.around(mask), report)
        )
    node = write_result(volume, found, name="result")
    store_reports(node, found, volume, drawn_ids)
    return node


@pytest.fixture(params=["nothing", "a transform"])
def drawn_on(request):
    return add_volume(parent=linear() if request.param == "a transform" else None)


def test_a_drawing_on_another_volume_takes_its_accepted_result_along(drawn_on):
    query, worker = add_volume(name="another patient", seed=1), ScriptedWorker()
    drawing, (segment_id,) = draw(drawn_on, ONE)
    assert worker.results(query, drawing, drawn_on) == [None] and worker.asked[0].drawn_on is not None
    node = accepted(drawn_on, [segment_id], [WHOLE])
    (result,) = worker.results(query, drawing, drawn_on)
    assert np.array_equal(result, WHOLE)
    mask = WHOLE.copy()
    mask[1] = False
    put_under(node, drawn_on.GetParentTransformNode())
    write_segment(node, node.GetSegmentation().GetNthSegmentID(0), mask, drawn_on)
    (result,) = worker.results(query, drawing, drawn_on)
    assert np.array_equal(result, mask)
    assert worker.results(drawn_on, drawing, drawn_on) == [None] and worker.asked[0].drawn_on is None


def test_the_results_are_those_of_the_chosen_segments(drawn_on):
    query, worker = add_volume(name="another patient", seed=1), ScriptedWorker()
    drawing, (liver, empty, spleen) = draw(drawn_on, ONE, ONE & False, ELSEWHERE)
    accepted(drawn_on, [liver, spleen], [WHOLE, ELSEWHERE])
    both = worker.results(query, drawing, drawn_on)
    assert np.array_equal(both, [WHOLE, ELSEWHERE])
    (only,) = worker.results(query, drawing, drawn_on, segment_ids=[empty, spleen])
    assert np.array_equal(only, ELSEWHERE)
    turned = worker.results(query, drawing, drawn_on, segment_ids=[spleen, liver])
    assert np.array_equal(turned, [ELSEWHERE, WHOLE])
