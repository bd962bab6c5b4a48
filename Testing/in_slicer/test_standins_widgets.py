"""The stand-ins of CTK's and Slicer's widgets behave as the real ones where the module touches them."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed (extra `test`)")
pytest.importorskip("slicer", reason="slicer-core is not installed (extra `slicer`)")

import ctk
import qt
import slicer
from slicer_session import session

from support.panel_bed import add_drawing, add_volume, choose, click, turn_events


@pytest.fixture(autouse=True)
def bed():
    bed = session()
    bed.reset()
    yield bed
    assert bed.uncaught == []
    bed.reset()


@pytest.fixture
def selector(bed):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.noneEnabled = True
    box.setMRMLScene(slicer.mrmlScene)
    box.show()
    return box


@pytest.fixture
def editor(bed):
    """The widget with its nodes set in Slicer's order, on a volume of zeros."""
    editor = slicer.qMRMLSegmentEditorWidget()
    editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setMRMLScene(slicer.mrmlScene)
    volume = add_volume(np.zeros((3, 4, 5)))
    editor.setSegmentationNode(add_drawing(volume, {}))
    editor.setSourceVolumeNode(volume)
    editor.show()
    return editor


def test_a_collapsed_section_hides_its_widgets_and_keeps_what_was_hidden():
    section = ctk.ctkCollapsibleButton()
    section.text = "Review"
    column = qt.QVBoxLayout(section)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    column.addWidget(shown)
    column.addWidget(hidden)
    hidden.visible = False
    heard = []
    section.contentsCollapsed.connect(heard.append)
    section.show()
    click(section)
    assert section.collapsed and not shown.isVisible() and heard == [True]
    hidden.visible, shown.visible = True, False  # the module changes its mind meanwhile
    assert not hidden.isVisible()
    section.collapsed = False
    assert hidden.isVisible() and not shown.isVisible() and heard == [True, False]


def test_a_slider_widget_keeps_slider_and_number_together():
    slider, heard = ctk.ctkSliderWidget(), []
    slider.minimum, slider.maximum, slider.decimals = 0, 10, 2
    slider.valueChanged.connect(heard.append)
    slider.value = 2.5
    assert (slider.value, slider.slider().value) == (2.5, 250)
    slider.slider().setValue(1000)
    assert slider.value == 10 and heard == [2.5, 10]
    slider.value = 99
    assert slider.value == 10


def test_the_node_selector_selects_nothing_that_is_added_and_the_neighbour_of_what_is_removed(selector):
    heard = []
    selector.currentNodeChanged.connect(heard.append)
    first, second = (add_volume(np.zeros((2, 2, 2)), name) for name in ("first", "second"))
    assert selector.currentNode() is None and selector.nodeCount() == 2
    choose(selector, "second")
    assert selector.currentNode() is second and heard == [second]
    second.SetName("renamed")
    assert selector.comboBox().currentText == "renamed"
    seen = []
    selector.currentNodeChanged.connect(lambda _node: seen.append(second.GetScene() is not None))
    slicer.mrmlScene.RemoveNode(second)
    assert selector.currentNode() is first and heard == [second, first] and selector.nodeCount() == 1
    assert seen == [True], "it is told before the node has gone"
    third = add_volume(np.zeros((2, 2, 2)), "third")
    slicer.mrmlScene.RemoveNode(first)
    assert selector.currentNode() is third
    slicer.mrmlScene.RemoveNode(third)
    assert selector.currentNode() is None and selector.nodeCount() == 0
    selector.setCurrentNode(add_volume(np.zeros((2, 2, 2)), "fourth"))
    slicer.mrmlScene.Clear(0)
    assert selector.currentNode() is None


def test_the_node_selector_offers_by_class_and_attribute(selector):
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    preview, other = (add_volume(np.zeros((2, 2, 2)), name) for name in ("preview", "other"))
    assert set(selector.nodes()) == {labels, preview, other}
    selector.showChildNodeTypes = False
    preview.SetAttribute("QNetSegment.Preview", "1")
    selector.addAttribute("vtkMRMLScalarVolumeNode", "QNetSegment.Preview", "1")
    assert selector.nodes() == [preview]


def test_observers_do_not_keep_widgets_alive(bed):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(slicer.mrmlScene)
    gone = weakref.ref(box)
    del box
    gc.collect()
    assert gone() is None
    add_volume(np.zeros((2, 2, 2)))  # nobody must answer


def test_the_segment_editor_insists_on_slicers_order(bed):
    editor = slicer.qMRMLSegmentEditorWidget()
    volume = add_volume(np.zeros((2, 2, 2)))
    with pytest.raises(RuntimeError, match="before setMRMLSegmentEditorNode"):
        editor.setMRMLScene(slicer.mrmlScene)
    with pytest.raises(RuntimeError, match="before setMRMLSegmentEditorNode"):
        editor.setSegmentationNode(add_drawing(volume, {}))
    editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setMRMLScene(slicer.mrmlScene)
    with pytest.raises(RuntimeError, match="before setSegmentationNode"):
        editor.setSourceVolumeNode(volume)


def test_segments_are_added_selected_and_undone_in_the_real_segmentation(editor):
    segmentation = editor.segmentationNode().GetSegmentation()
    add, remove, _, undo = editor.findChildren(qt.QPushButton)[:4]
    heard = []
    editor.currentSegmentIDChanged.connect(heard.append)
    click(add, times=2)
    first, second = segmentation.GetSegmentIDs()
    names = [segmentation.GetSegment(segment_id).GetName() for segment_id in (first, second)]
    colors = {segmentation.GetSegment(segment_id).GetColor() for segment_id in (first, second)}
    assert names == ["Segment_1", "Segment_2"] and len(colors) == 2
    assert editor.currentSegmentID() == second and heard == [first, second]
    editor.setCurrentSegmentID(first)
    click(remove)
    assert list(segmentation.GetSegmentIDs()) == [second] and editor.currentSegmentID() == second
    click(undo)
    assert set(segmentation.GetSegmentIDs()) == {first, second}


def test_a_chosen_drawing_brings_its_volume_and_first_segment(editor):
    other = add_volume(np.ones((2, 2, 2)), "other")
    drawing = add_drawing(other, {"liver": np.ones((2, 2, 2)), "spleen": np.zeros((2, 2, 2))})
    editor.setSegmentationNode(drawing)
    assert editor.sourceVolumeNode() is other
    assert drawing.GetSegmentation().GetSegment(editor.currentSegmentID()).GetName() == "liver"


def test_effects_follow_the_order_given_and_the_editor_node(editor):
    editor.unorderedEffectsVisible = False
    editor.setEffectNameOrder(["Paint", "Erase"])
    turn_events()
    buttons = {button.text: button for button in editor.findChildren(qt.QToolButton)}
    assert list(buttons) == ["None", "Paint", "Erase"]
    click(buttons["Paint"])
    assert editor.activeEffect().name == "Paint" and buttons["Paint"].checked
    editor.setActiveEffectByName("")
    assert editor.activeEffect() is None and buttons["None"].checked


def test_the_editor_lets_go_of_a_closed_scene(editor):
    editor.installKeyboardShortcuts()
    slicer.mrmlScene.Clear(0)
    assert editor.mrmlSegmentEditorNode() is None and editor.segmentationNodeID() == ""
