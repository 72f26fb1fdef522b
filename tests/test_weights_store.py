"""Weights that plugins name: fetched from a server in this process, kept in a cache of this test, checked."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from restore import downloads, weights
from restore.component import Component, RemoteWeights
from restore.errors import RequestError, RestoreError
from restore.plugins import PluginInfo, Registered, Registry
from restore.weights_store import every, fault, header
from torch import nn


class Handler(BaseHTTPRequestHandler):
    """What a server may do to a file; ``server.content`` is the file, ``server.asked`` the paths asked for."""

    def log_message(self, *_):
        pass

    def say(self, body, announced=None, status=200):
        self.send_response(status)
        if announced is not False:
            self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        content, self.close_connection = self.server.content, True
        self.server.asked.append(self.path)
        what = self.path.strip("/").partition("/")[0]
        if what == "moved":
            self.send_response(302)
            self.send_header("Location", "/plain/net.safetensors")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif what == "gone":
            self.say(b"no", status=404)
        elif what == "down":
            self.say(b"no", status=503)
        elif what == "cut":
            self.say(content[: len(content) // 2], len(content))
        elif what == "silently-cut":
            self.say(content[: len(content) // 2], False)
        elif what == "other":
            self.say(content[:-1] + bytes([content[-1] ^ 1]))
        elif what == "short":
            self.say(b"<html>Please log in</html>")
        elif what == "endless":
            self.say(b"", False)
            while True:
                self.wfile.write(bytes(1 << 16))
        elif what == "slow":
            time.sleep(1.0)
            self.say(content)
        else:
            self.say(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that hangs up is what one of the tests is about."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RESTORE_OFFLINE", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "cache" / "weights"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Conv2d(3, 64, 9)


@pytest.fixture(scope="module")
def content(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    weights.save(path, network.state_dict(), {"component": "far:net"})
    return path.read_bytes()


@pytest.fixture
def server(content):
    with Server(("127.0.0.1", 0), Handler) as running:
        running.content, running.asked = content, []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def remote(server, content):
    """``remote(what)``: the file, where the server does ``what`` to it."""

    def make(what="plain", **changed):
        url = f"http://127.0.0.1:{server.server_address[1]}/{what}/net.safetensors"
        return RemoteWeights(
            **{"url": url, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content), **changed}
        )

    return make


def registry(distribution="", **named):
    component = Component("net", "far.model:Net", weights={k.replace("_", "-"): v for k, v in named.items()})
    return Registry((PluginInfo("far", distribution, "1.0"),), (Registered("far", "model", component),))


def visible(folder):
    return sorted(p.name for p in folder.glob("*") if not p.name.startswith(".")) if folder.exists() else []


@pytest.mark.parametrize("what", ["plain", "moved"])
def test_a_name_is_fetched_once_and_loads(cache, server, remote, network, what, capsys):
    known = registry(net_x2=remote(what))
    path = weights.find("net-x2", known)
    fresh = nn.Conv2d(3, 64, 9)
    weights.load_into(fresh, weights.read(path))
    assert torch.equal(fresh.weight, network.weight)
    assert visible(cache) == [path.name]
    assert path.stat().st_mode & 0o077 == 0o044, "a shared cache can be read by others"
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("fetching far:net-x2 (")
    assert f"/{what}/net.safetensors" in said[0]
    before = len(server.asked)
    assert weights.find("far:net-x2", known) == path
    assert len(server.asked) == before == (2 if what == "moved" else 1)


FAILURES = {
    "cut": ("broke off", "try again"),
    "silently-cut": ("broke off after", "try again"),
    "other": ("another sha256", "tell the plugin's author"),
    "short": ("has 26 bytes", "thrown away"),
    "endless": ("has more than", "thrown away"),
    "gone": ("404", "Not Found"),
    "down": ("503", "try again later"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_what_arrives_wrong_is_not_kept(cache, remote, what):
    source = remote(what)
    with pytest.raises(RestoreError) as caught:
        weights.find("net", registry(net=source))
    for part in (*FAILURES[what], "far:net", source.url):
        assert part in str(caught.value)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert visible(cache) == []


def test_nobody_listens(cache, remote):
    with pytest.raises(RestoreError, match=r"cannot be fetched \(.*refused.*\); try again"):
        downloads.fetch(remote(url="http://127.0.0.1:9/net.safetensors"), "far:net")
    assert visible(cache) == []


def test_offline_says_what_to_put_where(cache, server, remote, content, monkeypatch):
    monkeypatch.setenv("RESTORE_OFFLINE", "1")
    source = remote()
    with pytest.raises(RequestError, match="not in the cache, and RESTORE_OFFLINE is set") as caught:
        downloads.fetch(source, "far:net")
    path = downloads.cached_path(source)
    assert all(text in str(caught.value) for text in (source.url, str(path), source.sha256))
    path.parent.mkdir(parents=True)
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(RequestError, match="damaged in the cache"):
        downloads.fetch(source, "far:net")
    path.write_bytes(content)
    assert downloads.fetch(source, "far:net") == path
    assert server.asked == []


def test_a_damaged_file_in_the_cache_is_fetched_again(remote, content):
    path = downloads.fetch(remote(), "far:net")
    path.write_bytes(bytes(len(content)))
    assert downloads.fetch(remote(), "far:net").read_bytes() == content


def test_releases_of_one_name_lie_side_by_side(remote):
    assert downloads.cached_path(remote()) != downloads.cached_path(remote(sha256="0" * 64))
    assert downloads.cached_path(remote()) == downloads.cached_path(remote(sha256=remote().sha256.upper()))


def test_two_processes_fetch_once(cache, server, remote, content):
    source = remote("slow")
    code = (
        "from restore.component import RemoteWeights; from restore.downloads import fetch\n"
        f"print(fetch(RemoteWeights({source.url!r}, {source.sha256!r}, {source.size}), 'far:net'))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert {out.strip() for out, _ in answers} == {str(downloads.cached_path(source))}
    assert len(server.asked) == 1
    assert visible(cache) == [downloads.cached_path(source).name]
    assert downloads.cached_path(source).read_bytes() == content


def test_a_cache_that_cannot_be_written(tmp_path, remote, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESTORE_CACHE", str(tmp_path / "file"))
    with pytest.raises(RestoreError, match="cannot be kept in .*RESTORE_CACHE=DIR"):
        downloads.fetch(remote(), "far:net")


GOOD = {"url": "https://x.org/a.pth", "sha256": "0" * 64, "size": 5}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"url": "ftp://x.org/a.pth"}, "https"),
        ({"url": "a.pth"}, "https"),
        ({"url": "https://x.org/a.ckpt"}, "must be .safetensors"),
        ({"url": "https://x.org/files/12?download=a.pth"}, "must be .safetensors"),
        ({"url": "https://x.org/"}, "give filename"),
        ({"filename": "../a.pth"}, "no file name"),
        ({"filename": "a.bin"}, "must be .safetensors"),
        ({"sha256": "0" * 63}, "64 hexadecimal"),
        ({"sha256": "g" * 64}, "64 hexadecimal"),
        ({"size": 0}, "in bytes"),
        ({"size": "5 MB"}, "in bytes"),
    ],
)
def test_descriptions_of_remote_weights(changed, said):
    assert RemoteWeights(**GOOD).filename == "a.pth"
    assert RemoteWeights(**{**GOOD, "url": "https://x.org/7/content", "filename": "b.pt"}).filename == "b.pt"
    with pytest.raises(ValueError, match=said):
        RemoteWeights(**{**GOOD, **changed})


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"a": "far:weights/a.ckpt"}, "must be .safetensors"),
        ({"a": "far:weights/a.pkl"}, "must be .safetensors"),
        ({"a": "weights/a.pth"}, "must look like"),
        ({"a.pth": "far:weights/a.pth"}, "leave its ending out"),
        ({"A net": "far:weights/a.pth"}, "lower-case"),
    ],
)
def test_other_formats_and_names_are_refused_when_the_component_is_made(named, said):
    with pytest.raises(ValueError, match=said):
        Component("net", "far.model:Net", weights=named)


def test_one_name_for_two_files_is_ambiguous():
    models = [Component(n, "far.model:Net", weights={"w": f"far:{n}.pth"}) for n in ("a", "b")]
    known = Registry((PluginInfo("far"),), tuple(Registered("far", "model", m) for m in models))
    with pytest.raises(RequestError, match="far:a and far:b give them different files"):
        weights.find("w", known)


@pytest.fixture
def package(tmp_path, monkeypatch, content):
    """An installed package ``near`` with weights, a card, and the list of files that an installer leaves."""
    site = tmp_path / "site"
    (site / "near_net/weights").mkdir(parents=True)
    (site / "near_net/__init__.py").write_text("")
    path = site / "near_net/weights/net.safetensors"
    path.write_bytes(content)
    path.with_suffix(".md").write_text("How it was trained.")
    about = site / "near-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: near\nVersion: 1.0\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    record = f"near_net/weights/net.safetensors,sha256={digest},{len(content)}\nnear-1.0.dist-info/METADATA,,\n"
    (about / "RECORD").write_text(record)
    monkeypatch.syspath_prepend(str(site))
    yield SimpleNamespace(path=path, record=about / "RECORD", where="near_net:weights/net.safetensors")
    sys.modules.pop("near_net", None)


@pytest.fixture
def known(monkeypatch):
    """``known(**named)``: what the command line finds installed."""

    def use(distribution="near", **named):
        found = registry(distribution, **named)
        monkeypatch.setattr("restore.plugins.registry", lambda: found)
        return found

    return use


def test_list_pull_verify(restore, known, package, remote, content):
    known(inside=package.where, afar=remote(), gone=remote("gone", sha256="1" * 64))
    digest = hashlib.sha256(content).hexdigest()

    def listed():
        return {entry["name"]: entry for entry in json.loads(restore("weights", "list", "--json").out)}

    found = listed()
    assert list(found) == ["far:afar", "far:gone", "far:inside"]
    assert [found[n]["where"] for n in found] == ["remote", "remote", "package"]
    assert {found[n]["size"] for n in found} == {len(content)}
    assert found["far:inside"]["sha256"] == found["far:afar"]["sha256"] == digest
    assert found["far:inside"]["component"] == "far:net"
    assert found["far:inside"]["card"] == str(package.path.with_suffix(".md"))
    assert found["far:afar"]["path"] is None
    table = restore("weights", "list", "far").out
    assert digest[:12] in table
    assert "net.md" in table

    pulled = restore("weights", "pull", "afar", "inside")
    assert pulled.code == 0
    assert f"far:afar    cached   {listed()['far:afar']['path']}" in pulled.out
    failed = restore("weights", "pull", "--json")
    assert failed.code == 1, "one of the three is not to be had"
    assert [bool(e["error"]) for e in json.loads(failed.out)] == [False, True, False]

    checked = restore("weights", "verify", "--json")
    assert checked.code == 0
    assert [e["status"] for e in json.loads(checked.out)] == ["ok", "not fetched", "ok"]
    assert restore("weights", "verify", "nothing").code == 2


def test_verify_sees_every_kind_of_damage(restore, known, package, remote, content):
    source = remote()
    known(inside=package.where, afar=source)
    cached = downloads.fetch(source, "far:afar")

    def status():
        answer = restore("weights", "verify", "--json")
        return answer.code, [e["status"] for e in json.loads(answer.out)]

    flipped = content[:-1] + bytes([content[-1] ^ 1])
    assert status() == (0, ["ok", "ok"])
    package.path.write_bytes(flipped)
    cached.write_bytes(flipped)
    assert status() == (1, ["damaged", "damaged"])
    package.record.write_text("near-1.0.dist-info/METADATA,,\n")
    assert status() == (1, ["damaged", "unrecorded"]), "without a record only a whole file can be asked for"
    package.path.write_bytes(content[:-4])
    cached.write_bytes(content)
    assert status() == (1, ["ok", "damaged"])
    package.path.unlink()
    assert status() == (1, ["ok", "missing"])


def test_the_header_is_read_without_torch(package, content):
    code = (
        "import sys; from pathlib import Path; from restore.weights_store import header\n"
        f"h = header(Path({str(package.path)!r})); print(sorted(h), h['__metadata__'])\n"
        "assert not {'torch', 'numpy', 'pooch', 'requests'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['__metadata__', 'bias', 'weight'] {'component': 'far:net'}", done.stderr
    for damaged in (
        b"",
        content[:7],
        content[:40],
        content[:-1],
        content + b"x",
        b"\xff" * 64,
        b"\x02" + bytes(7) + b"[]",
    ):
        package.path.write_bytes(damaged)
        with pytest.raises(RestoreError, match=r"net\.safetensors"):
            header(package.path)


def test_doctor_speaks_of_weights_and_the_cache(restore, known, package, remote, content, monkeypatch):
    source = remote()
    found = known(inside=package.where, afar=source, absent="near_net:weights/absent.safetensors")
    downloads.fetch(source, "far:afar")
    package.path.write_bytes(content[:100])
    monkeypatch.setenv("RESTORE_OFFLINE", "1")
    assert [bool(fault(w)) for w in every(found)] == [True, False, True]
    answer = json.loads(restore("doctor", "--json").out)
    assert {w["name"] for w in answer["weights"]} == {"far:absent", "far:inside"}
    cache = answer["cache"]
    assert (cache["files"], cache["bytes"], cache["offline"], cache["writable"]) == (1, len(content), True, True)
    text = restore("doctor").out
    assert "weights far:absent: near_net:weights/absent.safetensors is missing" in text
    assert f"cache: {downloads.cache_folder()}, 1 fetched weights" in text
    assert "RESTORE_OFFLINE is set" in text
