"""Stand-in for slicer.app, and message boxes of slicer.util that never wait."""

from __future__ import annotations

import logging
from pathlib import Path

import modal
import qt
import slicer
from core_io import CoreIOManager
from PySide6.QtCore import QObject, Signal
from pythonqt_life import patch_signals


@patch_signals
class ModuleManager(QObject):
    moduleAboutToBeUnloaded = Signal(str)

    def module(self, name):
        return getattr(slicer.modules, name.lower(), None)


class ExtensionsManager:
    """Extensions by name: tests say what is installed and whether installing works."""

    def __init__(self):
        self.installed = set()
        self.works = True

    def isExtensionInstalled(self, name):
        return name in self.installed

    def installExtensionFromServer(self, name, *_):
        if self.works:
            self.installed.add(name)
        return self.works

    def updateExtensionsMetadataFromServer(self, *_):
        return self.works


@patch_signals
class Application(QObject):
    """What modules ask slicer.app for; unknown names are looked up in the QApplication."""

    aboutToQuit = Signal()
    startupCompleted = Signal()
    applicationName = "Slicer"
    majorVersion, minorVersion = 5, 13
    applicationVersion = "5.13.0"
    revision = "stand-ins"
    repositoryRevision = "stand-ins"
    documentationBaseUrl = ""

    def __init__(self, session):
        super().__init__()
        self._session = session
        self._manager = ModuleManager()
        self._extensions = ExtensionsManager()
        self._files = CoreIOManager()
        self.testing = False
        self.translator = None
        self.restarts = 0

    def __getattr__(self, name):
        return getattr(qt.application(), name)

    @property
    def temporaryPath(self):
        return self._session.folder.name

    @property
    def slicerHome(self):
        return self._session.folder.name

    @property
    def cachePath(self):
        return str(Path(self._session.folder.name) / "cache")

    def applicationLogic(self):
        return self._session.application_logic

    def mrmlScene(self):
        return self._session.scene

    def testingEnabled(self):
        """False unless a test sets `testing`: modules shall behave as they do for users."""
        return self.testing

    def userSettings(self):
        return qt.QSettings()

    def settings(self):
        return qt.QSettings()

    def revisionUserSettings(self):
        return qt.QSettings()

    def translate(self, context, text):
        return self.translator(context, text) if self.translator else text

    def layoutManager(self):
        return None

    def moduleManager(self):
        return self._manager

    def extensionsManagerModel(self):
        return self._extensions

    def coreIOManager(self):
        return self._files

    def restart(self):
        self.restarts += 1

    def moduleDocumentationUrl(self, name):
        return ""

    def startupEnvironment(self):
        return qt.QProcessEnvironment.systemEnvironment()

    def setOverrideCursor(self, cursor):
        qt.QApplication.setOverrideCursor(qt.QCursor(cursor))

    def restoreOverrideCursor(self):
        qt.QApplication.restoreOverrideCursor()

    def processEvents(self, *_):
        qt.QCoreApplication.processEvents()

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass


_LEVELS = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}


def record_messages() -> None:
    """slicer.util's displays and questions are recorded; Slicer would show none of them headless."""

    def display(level, text, testing_value, mainWindowNeeded=False, parent=None, windowTitle=None, **options):
        logging.log(level, text)
        title, details = windowTitle or "", options.get("detailedText", "")
        asked = testing_value is not None
        modal.recorder.record("question" if asked else _LEVELS[level], text, title, details)
        if not asked:
            return None
        accepted = bool(modal.recorder.answer(bool(testing_value)))
        return _button(options["standardButtons"], accepted)

    def message_box(text, parent=None, **options):
        modal.recorder.record("info", text, options.get("windowTitle", ""), options.get("detailedText", ""))
        return qt.QMessageBox.Ok

    def delay(message, *_, **__):
        logging.info(message)
        slicer.app.processEvents()

    slicer.util._messageDisplay = display
    slicer.util.messageBox = message_box
    slicer.util.delayDisplay = delay


def _button(offered, accepted: bool):
    """The offered button that accepts or rejects; slicer.util compares it with Ok, Yes or Retry."""
    box = qt.QMessageBox
    choice = (box.Ok, box.Yes, box.Retry) if accepted else (box.Cancel, box.No, box.Close)
    return next(button for button in choice if offered & button)
