"""Slicer 5.10 lacks two things of 5.12; the shims do the same without them."""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
from types import SimpleNamespace

import pytest
import slicer
from slicer_session import session

BED = session()

from QNetSegmentLib import compat  # noqa: E402

THERE, TOO_NEW, ABSENT = "numpy>=1.20", "numpy>=1000", "no-such-package-anywhere>=1"


@pytest.fixture(params=["5.12", "5.10"])
def version(request, monkeypatch):
    """Both ways, by the stand-in of slicer.packaging and by the shim."""
    BED.reset()
    if request.param == "5.10":
        monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    return request.param


@pytest.fixture
def installed(version, monkeypatch):
    """What pip was asked to install."""
    found = []
    if version == "5.12":
        from slicer import packaging

        monkeypatch.setattr(packaging, "pip_install", lambda wanted, **_: found.extend(wanted))
    monkeypatch.setattr(slicer.util, "pip_install", found.extend, raising=False)
    return found


def test_requirements_are_read_without_comments_and_options(version, tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text("# a comment\n\nscipy>=1.11\n--index-url somewhere\ntqdm>=4.66\n")
    assert compat.load_requirements(file) == ["scipy>=1.11", "tqdm>=4.66"]


def test_versions_and_markers_count(version):
    assert compat.pip_check(THERE)
    assert not compat.pip_check(TOO_NEW)
    assert not compat.pip_check(ABSENT)
    assert compat.pip_check(f"{ABSENT}; python_version < '3'")


def test_only_what_is_missing_is_installed_after_a_question(version, installed):
    compat.pip_ensure([THERE, ABSENT], "QNetSegment")
    assert installed == [ABSENT]
    assert [message.kind for message in BED.messages] == ["question"]
    said = BED.messages[0].text + BED.messages[0].details
    assert ABSENT in said and THERE not in said


def test_a_refusal_installs_nothing(version, installed):
    BED.answers.append(False)
    with pytest.raises(compat.InstallDeclined):
        compat.pip_ensure([ABSENT], "QNetSegment")
    assert installed == []


def test_nothing_is_asked_when_nothing_is_missing(version, installed):
    compat.pip_ensure([THERE], "QNetSegment")
    assert installed == [] and BED.messages == []


def test_a_failure_that_is_no_refusal_stays_what_it_is(monkeypatch):
    from slicer import packaging

    def busy(*_args, **_named):
        raise RuntimeError("A non-blocking pip_install is already in progress.")

    monkeypatch.setattr(packaging, "pip_ensure", busy)
    with pytest.raises(RuntimeError, match="in progress"):
        compat.pip_ensure([ABSENT], "QNetSegment")


def test_presence_is_enough_where_versions_cannot_be_compared(monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert compat.pip_check(TOO_NEW)
    assert not compat.pip_check(ABSENT)
    assert compat.pip_check("numpy") and importlib.metadata.version("numpy")


def test_a_sample_category_gets_its_title_only_where_slicer_has_titles(monkeypatch):
    import SampleData

    compat.register_sample_category("A category", "A title")
    assert SampleData.SampleDataLogic.categoryTitle("A category") == "A title"
    monkeypatch.setattr(SampleData, "SampleDataLogic", SimpleNamespace())
    compat.register_sample_category("A category", "Another title")


def test_every_shim_names_the_date_of_its_removal():
    shims = [f for name, f in inspect.getmembers(compat, inspect.isfunction) if not name.startswith("_")]
    assert len(shims) == 4
    assert [shim.__name__ for shim in shims if "2027-06" not in (shim.__doc__ or "")] == []
