"""The worker protocol as pure functions: what is written is read back, everything else refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnetseg import errors
from qnetseg.worker import protocol
from qnetseg.worker.failures import InternalError, NotOpen, ProtocolError
from qnetseg.worker.fields import BoxFile, Drawn
from qnetseg.worker.protocol import (
    Cancel,
    Close,
    Download,
    Error,
    Hello,
    LineBuffer,
    Open,
    Opened,
    Pack,
    Packed,
    Progress,
    Ready,
    Result,
    Segment,
    Shutdown,
    Upload,
)
from support.worker_bed import LOGIC

IDENTITY = tuple(tuple(float(row == column) for column in range(4)) for row in range(4))
BOX = BoxFile("7-drawing.npy", (-1, 2, 3))
DRAWN = Drawn("6", BOX, "Jürgen's liver", (0.5, 1.0, 0.0), "a~b", None, (3, 4), None)
SEGMENT = Segment(
    "7", "6", DRAWN, None, ("7-f.npz",), "/models/a b/ü.safetensors", {"x": [1, None]}, "cpu", None, "none"
)
OPEN = Open("6", None, None, "6-volume.npy", IDENTITY, "Jürgen's MR", ("It has gaps.",))


@pytest.mark.parametrize(
    "request_",
    [
        Hello("1", 1, "/a folder/ü"),
        SEGMENT,
        replace(SEGMENT, background=BOX, drawing=None, support="7.npz", confidence_of="mask"),
        OPEN,
        Open("6", "/a folder/scan.nii.gz", "T1", None, None, "", ()),
        Upload("6", "6-volume.npy", 100, 0, "eJw="),
        Pack("8", DRAWN),
        Pack("8", replace(DRAWN, result=BOX)),
        Close("9", "6"),
        Cancel("a_B-1"),
        Shutdown("1"),
    ],
    ids=lambda m: m.TYPE,
)
def test_requests_come_back(request_):
    line = protocol.encode(request_)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert protocol.decode_request(line) == request_


@pytest.mark.parametrize(
    "event",
    [
        Ready("1", 2, 4711, "2.9.0", "cuda", False),
        Progress("1", 3, 10, "slices", None),
        Progress("1", 3, 10, "slices", 2.5),
        Opened("6", (3, 4, 5), IDENTITY, "MR", "abc", ("It has gaps.",)),
        Packed("8", "8-support.npz"),
        Download("8", "8-support.npz", 100, 0, "eJw="),
        Result("1", BOX, "1-confidence.npy", {"slices": [{"score": 0.5}]}),
        Result("1", BOX, None, {}),
        Error("1", "InputError", "No.", "Try.", ""),
        Error(None, "ProtocolError", "No.", "", "two\nlines"),
    ],
    ids=lambda m: m.TYPE,
)
def test_events_come_back(event):
    assert protocol.decode_event(protocol.encode(event)) == event


def test_a_path_that_is_not_unicode_comes_back():
    name = b"/scans/\xff.nii.gz".decode("utf-8", errors="surrogateescape")
    request = Open("7", name, None, None, None, "", ())
    assert protocol.decode_request(protocol.encode(request)).path == name


@given(st.lists(st.binary(max_size=20).filter(lambda b: b.strip() and b"\n" not in b), max_size=6), st.data())
def test_lines_are_the_same_however_the_bytes_arrive(lines, data):
    stream = b"".join(line + b"\n" for line in lines)
    buffer, found = LineBuffer(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += buffer.feed(stream[:size])
        stream = stream[size:]
    assert found == lines


def test_a_line_without_end_neither_fills_memory_nor_passes():
    buffer = LineBuffer()
    for _ in range(3 * protocol.MAX_LINE // (1 << 20)):
        assert buffer.feed(b" " * (1 << 20)) == []
    (line,) = buffer.feed(b"x\n") or [b""]
    assert len(line) <= protocol.MAX_LINE + 2
    with pytest.raises(ProtocolError, match="longer than"):
        protocol.decode_request(b"[" * (protocol.MAX_LINE + 1))


def changed(request=SEGMENT, **changes):
    content = json.loads(protocol.encode(request)) | changes
    return json.dumps({key: value for key, value in content.items() if value != "REMOVE"}).encode()


def drawn(**changes):
    return json.loads(protocol.encode(SEGMENT))["drawing"] | changes


BAD_REQUESTS = {
    "not JSON": b"hello?",
    "invalid UTF-8": b'{"request": "\xff"}',
    "half": protocol.encode(SEGMENT)[:-9],
    "not an object": b"[1, 2]",
    "number": b"3",
    "very nested": b"[" * 200_000,
    "no request": b'{"id": "7"}',
    "unknown": b'{"request": "dance", "id": "7"}',
    "unhashable": b'{"request": {}, "id": "7"}',
    "an event": protocol.encode(Ready("7", 1, 1, "", "", True)),
    "no id": b'{"request": "cancel"}',
    "number as id": b'{"request": "cancel", "id": 7}',
    "path as id": b'{"request": "cancel", "id": "../7"}',
    "missing field": changed(query="REMOVE"),
    "superfluous field": changed(more=1),
    "path as volume": changed(query="../../etc/passwd"),
    "path as array": changed(OPEN, array="../../etc/passwd"),
    "absolute support": changed(support="/etc/passwd", drawing=None),
    "hidden support": changed(support="..", drawing=None),
    "drawing and support": changed(support="s.npz"),
    "neither drawing nor support": changed(drawing=None),
    "no drawing to pack": changed(Pack("7", DRAWN), drawing=None),
    "a result without a place": changed(drawing=drawn(result={"file": "7-result.npy"})),
    "path and array": changed(OPEN, path="/a"),
    "neither path nor array": changed(OPEN, array=None),
    "array without matrix": changed(OPEN, ijk_to_ras=None),
    "path as drawing": changed(drawing=drawn(box={"file": "../b.npy", "start": [0, 0, 0]})),
    "half a box": changed(drawing=drawn(box={"file": "b.npy"})),
    "box at 2.5": changed(drawing=drawn(box={"file": "b.npy", "start": [0, 0, 2.5]})),
    "box far away": changed(drawing=drawn(box={"file": "b.npy", "start": [0, 0, 1 << 40]})),
    "drawing without colour": changed(drawing=drawn(color=[1.0, 2.0])),
    "marks before 0": changed(drawing=drawn(not_here=[-1])),
    "drawing with more": changed(drawing=drawn(more=1)),
    "background an array": changed(background=[[[0]]]),
    "no background": changed(background="REMOVE"),
    "confidence of what": changed(confidence_of="all"),
    "model a number": changed(model=3),
    "options a list": changed(options=[]),
    "three rows": changed(OPEN, ijk_to_ras=[[1, 0, 0, 0]] * 3),
    "rows of three": changed(OPEN, ijk_to_ras=[[1, 0, 0]] * 4),
    "matrix of text": changed(OPEN, ijk_to_ras=[["1"] * 4] * 4),
    "matrix of truths": changed(OPEN, ijk_to_ras=[[True] * 4] * 4),
    "NaN": changed(OPEN, ijk_to_ras=[[float("nan")] * 4] * 4),
    "infinite": changed(OPEN, ijk_to_ras=[[1] * 4] * 4).replace(b"1,", b"1e999,", 1),
    "huge": changed(OPEN, ijk_to_ras=[[10**400] * 4] * 4),
    "version a truth": b'{"request": "hello", "id": "7", "version": true, "folder": ""}',
}


@pytest.mark.parametrize("line", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_bad_requests_are_refused_in_a_short_sentence(line):
    with pytest.raises(ProtocolError) as caught:
        protocol.decode_request(line)
    assert caught.value.message.endswith(".") and len(caught.value.message) < 250
    if b'"id": "7"' in line:
        assert caught.value.request_id == "7"


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_the_decoders_alone(line):
    for decode in (protocol.decode_request, protocol.decode_event):
        with pytest.raises(ProtocolError):
            decode(line)


@pytest.mark.parametrize("line", [b'{"event": "ready"}', b'{"request": "shutdown", "id": "1"}', b"{}"])
def test_bad_events_are_refused(line):
    with pytest.raises(ProtocolError):
        protocol.decode_event(line)


def test_an_event_other_than_error_needs_an_id():
    line = protocol.encode(Progress(None, 1, 2, "slices", None))  # type: ignore[arg-type]
    with pytest.raises(ProtocolError, match='"id"'):
        protocol.decode_event(line)


def test_json_lacks_nan():
    with pytest.raises(ValueError):
        protocol.encode(Result("1", BOX, None, {"score": float("nan")}))


@pytest.mark.parametrize(
    "error",
    [
        errors.WeightsError("No file.", "Choose another."),
        errors.Cancelled("Stopped."),
        InternalError("It failed.", "Report it.", "Traceback ..."),
        NotOpen(),
    ],
)
def test_errors_keep_their_class_across_the_protocol(error):
    event = protocol.decode_event(protocol.encode(protocol.error_event("5", error)))
    again = protocol.exception_of(event)
    assert type(again) is type(error) and str(again) == str(error)
    assert getattr(again, "details", None) == getattr(error, "details", None)


def test_a_protocol_error_keeps_its_request():
    again = protocol.exception_of(protocol.error_event("5", ProtocolError("Odd.", "5")))
    assert isinstance(again, ProtocolError) and again.request_id == "5" and again.message == "Odd."


def test_an_error_of_a_kind_not_known_here_is_a_worker_error():
    error = protocol.exception_of(Error("5", "FutureError", "New.", "Update.", "log"))
    assert isinstance(error, errors.WorkerError) and str(error) == "New. Update."


def test_versions_must_agree():
    protocol.require_version(protocol.VERSION, "client")
    with pytest.raises(ProtocolError, match="version 99"):
        protocol.require_version(99, "client")


@pytest.mark.parametrize("decode", [protocol.decode_request, protocol.decode_event])
def test_another_version_is_named_even_where_its_fields_differ(decode):
    for line in (
        b'{"request": "hello", "id": "1", "version": 99, "folder": "", "more": 1}',
        b'{"event": "ready", "id": "1", "version": 99}',
    ):
        if (b"request" in line) == (decode is protocol.decode_request):
            with pytest.raises(ProtocolError, match="version 99") as caught:
                decode(line)
            assert "same version" in caught.value.advice


@pytest.mark.parametrize("module", ["protocol", "client", "requests", "held", "pieces"])
def test_the_client_side_loads_no_torch(module):
    code = f"import sys, qnetseg.worker.{module}; print({{'torch', 'qt', 'slicer'}} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(LOGIC)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"
