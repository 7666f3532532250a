"""Downloads from a real HTTP server: resumed, verified, put in place whole."""

from __future__ import annotations

import gc
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import trees
from tests.conftest import Segprint
from trainables.decoding.download import CHUNK, PAUSE, TRIES, Download
from trainables.part import names

BYTES = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(3 * CHUNK // 32)) + b"end"
MINE = """
from dataclasses import dataclass
from typing import ClassVar

from trainables.datasets.folder import Folder
from trainables.decoding.download import Download


@dataclass(frozen=True)
class Mine(Folder):
    downloads: ClassVar[tuple[Download, ...]] = (Download({url!r}, "mine.zip", {checksum!r}),)
"""


class Site(ThreadingHTTPServer):
    """Serves bytes by path, and notes the Range of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {"/file": BYTES}
        self.asked: list[str | None] = []
        self.ranges = True
        """Whether Range is heeded."""
        self.cuts = 0
        """Answers that end half-way, from now on."""
        self.failures = 0
        """Answers that are 503, from now on."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        site, asked = self.server, self.headers["Range"]
        site.asked.append(asked)
        body, start, status, content_range = site.files.get(self.path, b""), 0, 200, ""
        if asked and site.ranges:
            start, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            content_range = f"bytes {start}-{len(body) - 1}/{len(body)}"
            if start >= len(body):
                body, status, content_range = b"", 416, f"bytes */{len(body)}"
        if site.failures > 0 or self.path not in site.files:
            body, status = b"", 503 if site.failures > 0 else 404
            site.failures -= 1
        rest = body[start:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(rest)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(rest[: len(rest) // 2] if site.cuts > 0 else rest)
        site.cuts -= 1

    def log_request(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    gc.collect()  # a connection left open is a warning, and so an error, of this test


def of(site: Site, kind: str = "sha256") -> Download:
    return Download(site.url, "sub/file", f"{kind}:{hashlib.new(kind, BYTES).hexdigest()}")


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in trees.each(folder)}


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_file_is_loaded_once_and_whole(site: Site, tmp_path: Path, kind: str) -> None:
    told: list[tuple[int, int | None]] = []
    assert of(site, kind).fetch(tmp_path, lambda done, whole: told.append((done, whole)))
    assert files(tmp_path) == {"sub/file": BYTES}
    assert told[-1] == (len(BYTES), len(BYTES))
    assert not of(site, kind).fetch(tmp_path)
    assert site.asked == [None]


def test_a_file_without_a_published_checksum_is_loaded(site: Site, tmp_path: Path) -> None:
    assert Download(site.url, "file").fetch(tmp_path)
    assert files(tmp_path) == {"file": BYTES}


def test_a_connection_cut_half_way_is_continued(site: Site, tmp_path: Path) -> None:
    site.cuts = 1
    assert of(site).fetch(tmp_path)
    assert files(tmp_path) == {"sub/file": BYTES}
    assert site.asked == [None, f"bytes={len(BYTES) // 2}-"]


def test_a_server_that_ignores_ranges_sends_all_of_it_again(site: Site, tmp_path: Path) -> None:
    site.cuts, site.ranges = 1, False
    assert of(site).fetch(tmp_path)
    assert files(tmp_path) == {"sub/file": BYTES}


def test_a_server_that_fails_for_a_moment_is_asked_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    site.failures = TRIES - 1
    assert of(site).fetch(tmp_path)
    assert files(tmp_path) == {"sub/file": BYTES}
    assert pauses == [PAUSE * 2**i for i in range(TRIES - 1)]


def test_an_interrupted_run_is_continued_by_the_next(site: Site, tmp_path: Path) -> None:
    def interrupt(done: int, whole: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        of(site).fetch(tmp_path, interrupt)
    assert files(tmp_path) == {"sub/file.part": BYTES[:CHUNK]}
    assert of(site).fetch(tmp_path)
    assert files(tmp_path) == {"sub/file": BYTES}
    assert site.asked == [None, f"bytes={CHUNK}-"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("left", [BYTES, BYTES + b"of another file"], ids=["whole", "longer"])
def test_whatever_part_is_there_the_file_is_right(
    site: Site, tmp_path: Path, ranges: bool, left: bytes
) -> None:
    site.ranges = ranges
    trees.put(tmp_path / "sub" / "file.part", left)
    assert of(site).fetch(tmp_path)
    assert files(tmp_path) == {"sub/file": BYTES}


@pytest.mark.parametrize("there", [False, True])
def test_a_wrong_file_is_removed_and_both_hashes_named(
    site: Site, tmp_path: Path, there: bool
) -> None:
    wrong = BYTES[::-1]
    site.files["/file"] = wrong
    if there:
        trees.put(tmp_path / "sub" / "file", wrong)
    with pytest.raises(ValueError, match="removed") as caught:
        of(site).fetch(tmp_path)
    for text in (site.url, *(hashlib.sha256(b).hexdigest() for b in (BYTES, wrong))):
        assert text in str(caught.value)
    assert files(tmp_path) == {}
    site.files["/file"] = BYTES
    assert of(site).fetch(tmp_path)


def test_an_address_that_is_gone_is_asked_once(site: Site, tmp_path: Path) -> None:
    del site.files["/file"]
    with pytest.raises(ConnectionError, match="404") as caught:
        of(site).fetch(tmp_path)
    assert site.url in str(caught.value)
    assert site.asked == [None]
    assert files(tmp_path) == {}


def test_a_server_that_always_cuts_is_given_up_and_what_came_is_kept(
    site: Site, tmp_path: Path
) -> None:
    site.cuts = TRIES
    with pytest.raises(ConnectionError, match="the same command continues") as caught:
        of(site).fetch(tmp_path)
    assert site.url in str(caught.value)
    assert len(site.asked) == TRIES
    (kept,) = files(tmp_path).values()
    assert len(BYTES) / 2 < len(kept) < len(BYTES)
    assert of(site).fetch(tmp_path)
    assert site.asked[TRIES:] == [f"bytes={len(kept)}-"]
    assert files(tmp_path) == {"sub/file": BYTES}


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/file", "/etc/hostname", ""])
def test_only_http_addresses_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be http\(s\)"):
        Download(url, "file")


def test_a_data_set_in_a_file_of_its_own_is_fetched_and_read(
    site: Site, inline: Segprint, tmp_path: Path
) -> None:
    trees.folder(tmp_path / "source")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files(tmp_path / "source").items():
            archive.writestr(f"mine/{name}", data)
    site.files["/file"] = packed.getvalue()
    checksum = f"md5:{hashlib.md5(packed.getvalue()).hexdigest()}"
    (tmp_path / "mine.py").write_text(MINE.format(url=site.url, checksum=checksum))
    env = {"SEGPRINT_DATA": str(tmp_path / "data")}
    for answer in ("fetched mine.zip", "everything is there"):
        done = inline("data", "get", "./mine.py", **env)
        assert (done.returncode, done.stderr) == (0, "")
        assert answer in done.stdout
    assert files(tmp_path / "data") == {"mine/mine.zip": packed.getvalue()}
    assert site.asked == [None]
    checked = inline("data", "check", "./mine.py", **env)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_data_under_a_licence_are_not_fetched_but_explained(inline: Segprint) -> None:
    done = inline("data", "get", "monuseg")
    assert (done.returncode, done.stderr) == (0, "")
    assert "accept its licence" in done.stdout
    assert "MoNuSegTestData.zip" in done.stdout


def test_data_get_without_a_name_lists_the_choices(inline: Segprint) -> None:
    done = inline("data", "get")
    assert done.returncode == 2
    assert all(name in done.stderr for name in names("datasets"))
    assert len(done.stderr.strip().splitlines()) == 1
