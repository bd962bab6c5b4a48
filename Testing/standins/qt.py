"""Stand-in for Slicer's `qt` module: PySide6 in PythonQt's manners, dialogs that never wait.

Concrete classes are Python classes of the same names (see pythonqt_style); everything else is
PySide6's own. `Signal`, `Slot` and `Property` are left out on purpose: the module must not need them.
Runs on stand-ins prove names, connections and our own logic, not PythonQt.
"""

from __future__ import annotations

import os
import sys

import modal
import pythonqt_style
from PySide6 import QtCore, QtWidgets
from pythonqt_life import patch_signals

_NOT_IN_SLICER = {"Signal", "Slot", "Property", "SIGNAL", "SLOT", "SignalInstance"}
_CONCRETE = [
    "QAbstractButton",
    "QProcess",
    "QTimer",
    "QFileSystemWatcher",
    "QAction",
    "QActionGroup",
    "QShortcut",
    "QWidget",
    "QFrame",
    "QLabel",
    "QPushButton",
    "QToolButton",
    "QCheckBox",
    "QRadioButton",
    "QButtonGroup",
    "QComboBox",
    "QSpinBox",
    "QDoubleSpinBox",
    "QLineEdit",
    "QTextEdit",
    "QPlainTextEdit",
    "QTextBrowser",
    "QSlider",
    "QScrollBar",
    "QDial",
    "QProgressBar",
    "QListWidget",
    "QListView",
    "QTreeWidget",
    "QTreeView",
    "QTableWidget",
    "QTableView",
    "QTabWidget",
    "QTabBar",
    "QGroupBox",
    "QMenu",
    "QMenuBar",
    "QToolBar",
    "QToolBox",
    "QDialog",
    "QDialogButtonBox",
    "QMessageBox",
    "QFileDialog",
    "QInputDialog",
    "QProgressDialog",
    "QSplitter",
    "QStackedWidget",
    "QScrollArea",
    "QMainWindow",
    "QDockWidget",
    "QStatusBar",
    "QCommandLinkButton",
    "QDateEdit",
    "QTimeEdit",
    "QDateTimeEdit",
    "QLCDNumber",
]

for _module in pythonqt_style.MODULES:
    for _name in dir(_module):
        if not _name.startswith("_") and _name not in _NOT_IN_SLICER:
            globals().setdefault(_name, getattr(_module, _name))
for _name in _CONCRETE:
    globals()[_name] = pythonqt_style.concrete(globals()[_name])


def _dialog_classes() -> None:
    """exec, exec_ and the static functions of dialogs record and answer, see modal."""
    dialog, box = globals()["QDialog"], globals()["QMessageBox"]
    for cls in (dialog, globals()["QProgressDialog"]):
        cls.exec = cls.exec_ = modal.run_dialog
    box.exec = box.exec_ = modal.run_message_box
    for function, kind in (("information", "info"), ("warning", "warning"), ("critical", "error")):
        setattr(box, function, _static_box(kind, QtWidgets.QMessageBox.StandardButton.Ok))
    standard = QtWidgets.QMessageBox.StandardButton
    box.question = _static_box("question", standard.Yes | standard.No)
    menu = globals()["QMenu"]
    menu.exec = menu.exec_ = lambda self, *_: modal.ask_value("menu", self.title, None)
    files = globals()["QFileDialog"]
    for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        setattr(files, name, staticmethod(lambda parent=None, title="", *_, **__: modal.ask_path(title, "")))
    files.getOpenFileNames = staticmethod(lambda parent=None, title="", *_, **__: modal.ask_path(title, []))
    inputs = globals()["QInputDialog"]
    for name, nothing in (("getText", ""), ("getItem", ""), ("getInt", 0), ("getDouble", 0.0)):
        setattr(inputs, name, _static_input(nothing))


def _static_box(kind: str, default):
    def show(parent, title, text, buttons=None, *_):
        return modal.ask(kind, globals()["QMessageBox"], title, text, buttons or default)

    return staticmethod(show)


def _static_input(nothing):
    return staticmethod(lambda parent, title, label, *_, **__: modal.ask_value(title, label, nothing))


_dialog_classes()

customWidgets: list[type] = []


def registerCustomWidget(cls: type) -> type:
    """Lets .ui files name the class; ctk and qmrml call it for theirs."""
    customWidgets.append(patch_signals(pythonqt_style.own_connect(cls)))
    return cls


def application() -> QtWidgets.QApplication:
    """The one QApplication of this process, made without a screen on the first call."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    running = QtCore.QCoreApplication.instance()
    if running is None:
        QtCore.qInstallMessageHandler(_print_message)
        running = QtWidgets.QApplication(["standins"])
    elif not isinstance(running, QtWidgets.QApplication):
        raise RuntimeError("a QCoreApplication runs already; call qt.application() before making one")
    return running


def _print_message(kind, context, text: str) -> None:
    if "propagateSizeHints" not in text:  # each window without a screen says that
        print(f"Qt: {text}", file=sys.stderr)


def __getattr__(name: str):
    if name == "QUiLoader":  # the loader needs this module whole
        from ui_files import QUiLoader

        return QUiLoader
    raise AttributeError(f"qt has no {name} (on stand-ins)")
