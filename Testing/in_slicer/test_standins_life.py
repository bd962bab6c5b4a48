"""The stand-ins keep alive, give up and hand over what real PythonQt does."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed (extra `test`)")
STANDINS = Path(__file__).resolve().parents[1] / "standins"
if str(STANDINS) not in sys.path:
    sys.path.insert(0, str(STANDINS))

import qt  # noqa: E402
from pythonqt_life import event_filters  # noqa: E402

qt.application()


def delete(widget):
    widget.deleteLater()
    qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)


class Owner:
    """Connects its own method to a signal of its own object."""

    def __init__(self):
        self.timer, self.rung = qt.QTimer(), 0
        self.timer.timeout.connect(self.ring)

    def ring(self):
        self.rung += 1


def test_what_connects_its_method_to_its_own_object_stays_until_it_disconnects():
    owner = Owner()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is not None
    gone().timer.timeout.emit()
    assert gone().rung == 1
    assert gone().timer.timeout.disconnect(gone().ring) and not gone().timer.timeout.disconnect(gone().ring)
    gc.collect()
    assert gone() is None


def test_a_slot_gets_no_more_arguments_than_it_names():
    button, heard = qt.QPushButton(), []
    button.setCheckable(True)
    button.clicked.connect(lambda: heard.append("none"))
    button.clicked.connect(lambda checked: heard.append(checked))
    button.clicked.connect(lambda *all_of_them: heard.append(all_of_them))
    button.click()
    assert heard == ["none", True, (True,)]


def test_a_finished_process_gives_its_code_alone():
    process, heard = qt.QProcess(), []
    process.finished.connect(lambda *arguments: heard.append(arguments))
    process.start(sys.executable, ["-c", "raise SystemExit(3)"])
    assert process.waitForFinished(30_000) and heard == [(3,)]


def test_a_deleted_widget_is_false_and_its_attributes_raise():
    parent = qt.QWidget()
    child = qt.QLabel("text", parent)
    assert parent and child and child.text == "text"
    delete(parent)
    for widget in (parent, child):
        assert not widget
        with pytest.raises(ValueError, match="destroyed"):
            widget.enabled  # noqa: B018
        with pytest.raises(ValueError, match="destroyed"):
            widget.enabled = False
        with pytest.raises(ValueError, match="destroyed"):
            widget.name  # noqa: B018
        with pytest.raises(ValueError, match="destroyed"):
            widget.destroyed.connect(print)
        with pytest.raises(RuntimeError, match="deleted"):
            widget.setEnabled(False)


def test_an_event_filter_is_called_until_it_is_removed():
    class Filter(qt.QObject):
        seen = 0

        def eventFilter(self, _watched, event):
            Filter.seen += event.type() == qt.QEvent.EnabledChange
            return False

    label, watching = qt.QLabel(), Filter()
    label.installEventFilter(watching)
    kept = weakref.ref(watching)
    del watching
    gc.collect()
    label.enabled = False
    assert Filter.seen == 1 and event_filters(label) == [kept()]
    label.removeEventFilter(kept())
    label.enabled = True
    gc.collect()
    assert Filter.seen == 1 and kept() is None


def test_settings_give_tuples_for_lists(tmp_path):
    settings = qt.QSettings(str(tmp_path / "settings.ini"), qt.QSettings.IniFormat)
    settings.setValue("names", ["liver", "spleen"])
    assert settings.value("names") == ("liver", "spleen") and settings.value("none", 1) == 1


def test_an_object_is_one_of_its_own_class_only():
    class Own(qt.QPushButton):
        pass

    for button in (qt.QPushButton(), Own()):
        assert isinstance(button, qt.QPushButton)
        assert not isinstance(button, qt.QWidget) and not isinstance(button, qt.QAbstractButton)
    assert isinstance(Own(), Own) and not isinstance(qt.QPushButton(), Own)
    box = qt.QComboBox()
    box.setEditable(True)
    assert isinstance(box.lineEdit(), qt.QLineEdit), "also what Qt itself has made"
    assert len(qt.QComboBox(box).parent().findChildren(qt.QWidget)) > 1, "searches know the bases"


def test_an_empty_byte_array_has_empty_data():
    assert qt.QByteArray().data() == b""
