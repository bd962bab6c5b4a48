"""The catalogue of weights: where models are found, how they are verified, downloaded and removed."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from qnetseg import models
from qnetseg.catalogue import Catalogue
from qnetseg.errors import InputError, OutputError, WeightsError
from qnetseg.model import PropagationConfig, PropagationNet, QNet
from qnetseg.models import PROPAGATION, QNET
from qnetseg_lab.weights.writing import save_model
from support.cli_bed import entry_of, write_manifest, write_model
from support.intensity_model import CONFIG


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Resources with a shipped model of each kind, and a data folder that does not exist yet."""
    (tmp_path / "resources" / "Models").mkdir(parents=True)
    monkeypatch.setenv("QNETSEG_RESOURCES", str(tmp_path / "resources"))
    monkeypatch.setenv("QNETSEG_MODELS", str(tmp_path / "data" / "models"))
    folder = tmp_path / "resources" / "Models"
    shipped = (
        write_model(folder / "tiny.safetensors"),
        write_model(folder / "tiny-qnet.safetensors", method=QNET),
    )
    write_manifest(tmp_path / "resources", [entry_of(path) for path in shipped])
    return tmp_path


@pytest.fixture
def shipped(house):
    return house / "resources" / "Models" / "tiny.safetensors"


@pytest.fixture
def qnet(shipped):
    return shipped.with_name("tiny-qnet.safetensors")


@pytest.fixture
def remote(house, shipped):
    """A second model that lies behind a file:// address."""
    source = write_model(house / "big.safetensors", "other")
    write_manifest(house / "resources", [entry_of(shipped), entry_of(source, url=source.as_uri())])
    return source


def test_the_manifest_that_ships_can_be_read(monkeypatch):
    monkeypatch.delenv("QNETSEG_RESOURCES", raising=False)
    catalogue = models.read_catalogue()
    assert set(catalogue.defaults) == {PROPAGATION, QNET}
    for kind, name in catalogue.defaults.items():
        entry = catalogue.entry(name)
        assert entry.file.endswith(".safetensors") and len(entry.sha256) == 64 and entry.method == kind
        assert entry.licence and entry.description
        path = models.find(entry)
        if path is not None:
            assert models.resolve_model(None, kind) == path and models.kind_of(path) == kind


def test_default_name_and_path_lead_to_the_same_verified_file(shipped, qnet, monkeypatch):
    assert models.resolve_model() == models.resolve_model(None, PROPAGATION) == shipped
    assert models.resolve_model(None, QNET) == models.resolve_model("tiny-qnet") == qnet
    assert models.resolve_model("tiny") == shipped
    monkeypatch.chdir(shipped.parent)
    assert models.resolve_model("tiny.safetensors").samefile(shipped)


def test_a_file_outside_the_catalogue_is_taken_as_it_is(house):
    own = write_model(house / "own model ü.safetensors")
    assert models.resolve_model(own) == own


def test_a_whole_file_is_hashed_once(shipped, monkeypatch):
    models.resolve_model()
    monkeypatch.setattr(models, "sha256", lambda path: pytest.fail("hashed again"))
    assert models.resolve_model() == shipped


@pytest.mark.parametrize("wanted", [None, "tiny", "path"])
def test_one_flipped_byte_in_a_catalogue_file_is_noticed(shipped, wanted):
    models.resolve_model()
    content = bytearray(shipped.read_bytes())
    content[-5] ^= 1
    shipped.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or was replaced: its SHA-256"):
        models.resolve_model(shipped if wanted == "path" else wanted)


def test_a_truncated_catalogue_file_is_noticed(shipped):
    shipped.write_bytes(shipped.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"it has \d+ bytes, not \d+"):
        models.resolve_model()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04}", b"\x80\x04" + b"x" * 64, b"\x02" + b"\0" * 7 + b"[]", b"\x04" + b"\0" * 7 + b"{]{]"],
    ids=["empty", "short", "pickle", "list", "no JSON"],
)
def test_what_is_not_safetensors_is_refused(house, content):
    path = house / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        models.resolve_model(path)


def test_unknown_names_are_a_sentence(house):
    with pytest.raises(WeightsError, match="There is no model 'nothing'"):
        models.resolve_model("nothing")
    with pytest.raises(WeightsError, match="Known are: tiny, tiny-qnet"):
        models.read_catalogue().entry("nothing")
    with pytest.raises(WeightsError, match="does not exist"):
        models.kind_of(house / "missing.safetensors")


def test_without_resources_only_files_can_be_named(house, monkeypatch):
    monkeypatch.setenv("QNETSEG_RESOURCES", str(house / "nowhere"))
    assert models.read_catalogue() == Catalogue({}, ())
    own = write_model(house / "own.safetensors")
    assert models.resolve_model(own) == own
    with pytest.raises(WeightsError, match="no default model"):
        models.resolve_model()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"defaults": {"propagation": "a", "qnet": "b"}}',
        '{"defaults": {"propagation": "a", "qnet": "b"}, "models": [{"name": "a"}]}',
        '{"defaults": {"propagation": "a"}, "models": []}',
        '{"default": "a", "models": []}',
        "[" * 100_000,
        '{"defaults": {"propagation": 3, "qnet": "b"}, "models": []}',
    ],
)
def test_a_damaged_manifest_is_a_sentence(house, text):
    (house / "resources" / "Models" / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match="cannot be read"):
        models.read_catalogue()


def test_a_manifest_that_leaves_its_folder_is_refused(house, shipped):
    write_manifest(house / "resources", [entry_of(shipped, file="../tiny.safetensors")])
    with pytest.raises(WeightsError, match="a file name with a folder"):
        models.read_catalogue()


def test_a_model_is_downloaded_once_then_found_then_removed(house, remote):
    entry = models.read_catalogue().entry("big")
    assert models.state(entry) == models.AVAILABLE
    with pytest.raises(WeightsError, match="qnetseg weights download big"):
        models.resolve_model("big")
    seen = []
    path = models.download(entry, lambda done, total: seen.append((done, total)))
    assert path == house / "data" / "models" / "big.safetensors" and path.read_bytes() == remote.read_bytes()
    assert seen[-1] == (entry.size, entry.size)
    assert models.state(entry) == models.DOWNLOADED and models.resolve_model("big") == path
    remote.unlink()
    assert models.download(entry) == path  # it is here already
    assert models.remove("big") == path and not path.exists()
    assert models.state(entry) == models.AVAILABLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "fewer than the"),
        (lambda content: content + b"x", "more than the"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "wrong SHA-256"),
    ],
)
def test_a_wrong_download_leaves_nothing(house, remote, change, message):
    entry = models.read_catalogue().entry("big")
    remote.write_bytes(change(remote.read_bytes()))
    with pytest.raises(WeightsError, match=message):
        models.download(entry)
    assert list((house / "data" / "models").iterdir()) == []


def test_a_download_over_http_and_its_failures(house, remote):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(house))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    try:
        entry = models.ModelEntry(**entry_of(remote, url=address + "big.safetensors"))
        assert models.download(entry).read_bytes() == remote.read_bytes()
        absent = models.ModelEntry(**entry_of(remote, file="absent.safetensors", url=address + "absent"))
        with pytest.raises(WeightsError, match="could not be downloaded"):
            models.download(absent)
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(WeightsError, match="could not be downloaded"):
        models.download(absent)
    with pytest.raises(WeightsError, match="no address"):
        models.download(models.ModelEntry(**entry_of(remote, file="absent.safetensors")))


def test_a_data_folder_that_cannot_be_made_is_an_output_error(house, remote, monkeypatch):
    monkeypatch.setenv("QNETSEG_MODELS", str(remote / "below a file"))
    with pytest.raises(OutputError, match="could not be saved"):
        models.download(models.read_catalogue().entry("big"))


def test_shipped_files_are_never_removed(shipped):
    with pytest.raises(WeightsError, match="it ships with QNetSegment"):
        models.remove("tiny")
    assert shipped.is_file()


def test_what_is_not_here_cannot_be_removed(house, remote):
    with pytest.raises(WeightsError, match="it is not on this machine"):
        models.remove("big")


def test_a_model_without_file_and_address_is_missing(house, shipped):
    write_manifest(house / "resources", [entry_of(shipped)])
    entry = models.read_catalogue().entry("tiny")
    shipped.unlink()
    assert models.state(entry) == models.MISSING
    with pytest.raises(WeightsError, match="not on this machine"):
        models.resolve_model()


def test_a_weights_file_says_what_it_is_for(house, shipped, qnet):
    assert models.kind_of(shipped) == PROPAGATION and models.kind_of(qnet) == QNET
    old = house / "old.safetensors"
    save_file({"weights": np.zeros(3, np.float32)}, old, {"format": "qnetseg-1"})
    assert models.kind_of(old) == QNET, "files from before there were others say nothing"
    with pytest.raises(WeightsError, match="'panet', which segments no volumes"):
        models.kind_of(write_model(house / "rival.safetensors", method="panet"))


def test_weights_are_found_for_the_networks_that_are_asked_for(house, shipped, qnet):
    own = write_model(house / "own.safetensors", method=QNET)
    assert models.weights_for([PROPAGATION, QNET]) == [shipped, qnet]
    assert models.weights_for([PROPAGATION, QNET], own) == [shipped, own]
    assert models.weights_for([QNET], "tiny-qnet") == [qnet]
    with pytest.raises(InputError, match=r"'tiny' is a propagation network, and none .* Choose a Q-Net"):
        models.weights_for([QNET], "tiny")
    qnet.unlink()
    assert models.weights_for([PROPAGATION]) == [shipped]
    with pytest.raises(WeightsError, match="'tiny-qnet' is not on this machine"):
        models.weights_for([PROPAGATION, QNET])


@pytest.mark.parametrize("chosen", [None, "propagation", "qnet"])
def test_a_chosen_model_takes_the_place_of_the_default_of_its_kind(house, chosen):
    """Of networks that compute; no file is read before its network is asked for."""
    files = {PROPAGATION: "tiny", QNET: "tiny-qnet"}
    folder = house / "resources" / "Models"
    small = {PROPAGATION: PropagationNet(PropagationConfig((8,) * 5)), QNET: QNet(CONFIG)}
    for kind, name in files.items():
        save_model(folder / f"{name}.safetensors", small[kind], {})
    write_manifest(house / "resources", [entry_of(folder / f"{name}.safetensors") for name in files.values()])
    name = None
    if chosen:
        name = house / "mine.safetensors"
        save_model(name, small[chosen], {})
        (folder / f"{files[chosen]}.safetensors").unlink()
    networks = models.load_networks(name)
    names = {PROPAGATION: networks.propagation.name, QNET: networks.qnet.name}
    assert names == {**files, **({chosen: "mine"} if chosen else {})}


def test_a_chosen_model_is_looked_for_at_once_and_the_others_when_they_are_needed(house, shipped):
    shipped.unlink()
    networks = models.load_networks()
    with pytest.raises(WeightsError, match="'tiny' is not on this machine"):
        _ = networks.propagation
    with pytest.raises(WeightsError, match="There is no model 'nothing'"):
        models.load_networks("nothing")
    with pytest.raises(WeightsError, match="segments no volumes"):
        models.load_networks(write_model(house / "rival.safetensors", method="panet"))


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_DATA_HOME": "/share"}, Path("/share/qnetseg/models")),
        ("linux", {}, Path("/home-of-me/.local/share/qnetseg/models")),
        ("darwin", {}, Path("/home-of-me/Library/Application Support/QNetSegment/Models")),
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/QNetSegment/Models")),
        ("win32", {}, Path("/home-of-me/AppData/Local/QNetSegment/Models")),
    ],
)
def test_the_data_folder_follows_the_platform(monkeypatch, platform, variables, expected):
    for name in ("QNETSEG_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home-of-me"))
    assert models.data_folder() == expected


def test_the_catalogue_needs_no_torch():
    code = "import sys, qnetseg.models as m; m.read_catalogue(); sys.exit('torch' in sys.modules)"
    logic = Path(models.__file__).parents[1]
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(logic)}, check=False).returncode
        == 0
    )
