"""The stand-in of `qt` has PythonQt's manners, refuses what PythonQt refuses, and never waits for a user."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed (extra `test`)")
STANDINS = Path(__file__).resolve().parents[1] / "standins"
if str(STANDINS) not in sys.path:
    sys.path.insert(0, str(STANDINS))

import modal  # noqa: E402
import qt  # noqa: E402

qt.application()


@pytest.fixture(autouse=True)
def recorder():
    modal.recorder.clear()
    yield modal.recorder
    modal.recorder.clear()


def test_properties_are_attributes_and_methods_stay_methods():
    button, table, process = qt.QPushButton("a"), qt.QTableWidget(), qt.QProcess()
    button.text, button.enabled, button.name = "größer", False, "apply"
    table.rowCount, table.columnCount = 2, 1
    table.setItem(1, 0, qt.QTableWidgetItem("cell"))
    assert (button.text, button.isEnabled(), button.name, button.className()) == (
        "größer",
        False,
        "apply",
        "QPushButton",
    )
    assert table.rowCount == 2 and table.item(1, 0).text() == "cell"
    assert process.state() == qt.QProcess.NotRunning


def test_unknown_attributes_are_refused_except_in_subclasses():
    label = qt.QLabel()
    with pytest.raises(AttributeError, match="texxt does not exist"):
        label.texxt = "typo"
    with pytest.raises(AttributeError, match="setText is a method"):
        label.setText = "not a call"

    class Own(qt.QLabel):
        def __init__(self):
            super().__init__()
            self.known = 1

    assert Own().known == 1


def test_both_ways_to_connect():
    button, heard = qt.QPushButton(), []
    button.setCheckable(True)
    button.clicked.connect(lambda *_: heard.append("signal"))
    button.connect("toggled(bool)", heard.append)
    quiet = lambda: heard.append("quiet")  # noqa: E731
    button.connect("clicked()", quiet)
    button.click()
    assert heard == [True, "signal", "quiet"]
    button.disconnect("clicked()", quiet)
    button.click()
    assert heard[3:] == [False, "signal"]
    with pytest.raises(RuntimeError, match="no signal klicked"):
        button.connect("klicked()", quiet)


def test_objects_that_qt_made_are_objects_of_the_stand_ins():
    table = qt.QTableWidget()
    assert isinstance(table.horizontalHeader(), qt.QHeaderView) and isinstance(table, qt.QTableWidget)
    assert not isinstance(table, qt.QLabel)
    assert not hasattr(qt, "Signal"), "PythonQt's signals must not be subclassed; qnetseg has its own"


def test_a_process_writes_reads_and_ends():
    process, ended = qt.QProcess(), []
    process.finished.connect(lambda code, *_: ended.append(code))
    process.start(sys.executable, ["-c", "print(input()[::-1])"])
    process.write(qt.QByteArray(b"abc\n"))
    assert process.waitForFinished(30_000) and ended == [0]
    assert bytes(process.readAllStandardOutput().data()).strip() == b"cba"


def test_dialogs_are_recorded_and_answered_instead_of_waiting(recorder):
    assert qt.QMessageBox.question(None, "Title", "Really?") == qt.QMessageBox.Yes
    recorder.answers.extend([False, "Keep", "/data/a.npz"])
    assert qt.QMessageBox.question(None, "Title", "Really?") == qt.QMessageBox.No
    box = qt.QMessageBox()
    box.text = "Both exist."
    keep = box.addButton("&Keep", qt.QMessageBox.RejectRole)
    box.addButton("Replace", qt.QMessageBox.AcceptRole)
    box.exec_()
    assert box.clickedButton() is keep
    assert qt.QFileDialog.getOpenFileName(None, "Import") == "/data/a.npz"
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == ""
    assert [(message.kind, message.text) for message in recorder.messages] == [
        ("question", "Really?"),
        ("question", "Really?"),
        ("info", "Both exist."),
        ("file", "Import"),
        ("file", "Folder"),
    ]


def test_a_function_plays_the_user_of_our_own_dialogs(recorder):
    dialog = qt.QDialog()
    dialog.windowTitle = "Save example"
    field = qt.QLineEdit(dialog)

    def user(shown):
        field.text = "liver"
        return True

    assert dialog.exec_() == 0, "without an answer the user closes it"
    recorder.answers.append(user)
    assert dialog.exec_() == 1 and field.text == "liver"


FORM = """<ui version="4.0"><class>Form</class><widget class="QWidget" name="Form">
<layout class="QVBoxLayout" name="column">
<item><widget class="{kind}" name="box">
<property name="{property}"><{tag}>{value}</{tag}></property></widget></item>
<item><widget class="QLineEdit" name="edit"/></item>
</layout></widget><connections><connection><sender>box</sender><signal>{signal}</signal>
<receiver>edit</receiver><slot>{slot}</slot></connection></connections></ui>"""


def load(tmp_path, **changes):
    import ctk  # noqa: F401  (registers its widgets)

    values = {
        "kind": "QCheckBox",
        "property": "text",
        "tag": "string",
        "value": "on",
        "signal": "toggled(bool)",
        "slot": "setVisible(bool)",
    }
    path = tmp_path / "form.ui"
    path.write_text(FORM.format(**(values | changes)), encoding="utf-8")
    file = qt.QFile(str(path))
    assert file.open(qt.QFile.ReadOnly)
    return qt.QUiLoader().load(file)


def test_forms_are_loaded_with_their_connections(tmp_path):
    form = load(
        tmp_path,
        kind="ctkPathLineEdit",
        property="filters",
        tag="set",
        value="ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable",
        signal="currentPathChanged(QString)",
        slot="setText(QString)",
    )
    box, edit = form.findChild(qt.QWidget, "box"), form.findChild(qt.QLineEdit, "edit")
    assert box.filters == 0x011 and type(edit) is qt.QLineEdit
    box.currentPath = "/data"
    assert edit.text == "/data"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "ctkFancyButton"}, "no stand-in for ctkFancyButton"),
        ({"property": "texxt"}, "QCheckBox has no property texxt"),
        ({"signal": "klicked()"}, "no signal klicked"),
        ({"slot": "setTexxt(QString)"}, "no slot setTexxt"),
    ],
)
def test_mistakes_in_forms_are_told(tmp_path, changes, told):
    with pytest.raises(RuntimeError, match=told):
        load(tmp_path, **changes)
