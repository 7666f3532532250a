"""An HTTP proxy of the tests' own between an S3 client and a real S3 server: it injects faults.

Faults that only a network or another vendor's server would show happen here on demand, to clients
that run unchanged, in any process. What is not faulted passes byte for byte, ``Host`` included: a
signature computed for the proxy's address is still right at the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import unquote

Match = Callable[[str, str], bool]
END = b"\r\n\r\n"
REFUSALS = {
    403: ("AccessDenied", "Access Denied."),
    409: ("ConditionalRequestConflict", "A conflicting conditional operation is in progress."),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
    507: ("XMinioStorageFull", "Storage backend has reached its minimum free drive threshold."),
}


def to(method: str = "", path: str = "") -> Match:
    """Requests of a method (any, if empty) whose unquoted path and query contain a text."""
    return lambda m, p: m.startswith(method) and path in p


@dataclass
class Fault:
    """What happens to the next ``times`` requests that match; to every one if that is None.

    - ``refuse``: an S3 error answers, with ``status``; the server is not asked.
    - ``reset``: the connection is reset before the server is asked.
    - ``lose``: the server does the work, then the connection is reset in place of its answer.
    - ``truncate``: a GET's answer ends after ``keep`` bytes of its body (negative: before its end).
    """

    kind: Literal["none", "refuse", "reset", "lose", "truncate"]
    match: Match = field(default_factory=to)
    times: int | None = 1
    status: int = 503
    keep: int = 0
    hits: int = 0  # so that a test can prove that the fault it is about was there

    def takes(self, method: str, path: str) -> bool:
        """Whether it happens to this request; counts it if so."""
        spent = self.times is not None and self.hits >= self.times
        if spent or (self.kind == "truncate" and method != "GET") or not self.match(method, path):
            return False
        self.hits += 1
        return True


class Proxy:
    """Listens on loopback while entered; its faults may be set at any time from the test's thread.

    Requests and answers are read whole before they are passed on, so a fault hits exactly one
    request, and what the server has done when it hits is certain.
    """

    latency = 0.0  # seconds that each request waits before a fault or the server sees it
    ignores_conditions = False
    """Whether PUTs lose their ``If-None-Match``: a store that lets two create one object."""

    def __init__(self, host: str, port: int, secret: str = "planted-secret") -> None:
        self._target, self._secret = (host, port), secret
        self._faults: list[Fault] = []
        self._open: dict[asyncio.Task[None], socket.socket] = {}
        self._dead = True
        self.requests = Counter[str]()  # by method, the faulted included
        self.log: list[tuple[str, str]] = []  # methods and unquoted paths with queries

    def __enter__(self) -> Self:
        self._socket = _bound(0)
        self._port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.dead = False
        return self

    def __exit__(self, *_: object) -> None:
        self.dead = True
        self._socket.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def dead(self) -> bool:
        """Whether connections are refused; setting it (not in a ``match``) resets the open ones."""
        return self._dead

    @dead.setter
    def dead(self, dead: bool) -> None:
        if dead != self.dead:
            asyncio.run_coroutine_threadsafe(self._turn(), self._loop).result()

    def fault(self, fault: Fault) -> Fault:
        """Let a fault happen from now on; of several that match a request, the oldest does."""
        assert fault.status in REFUSALS
        self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Remove all faults and the latency, heed conditions, and accept connections."""
        self._faults, self.latency, self.ignores_conditions, self.dead = [], 0.0, False, False

    async def _turn(self) -> None:
        self._dead = not self._dead
        if not self._dead:
            self._socket.listen()
            self._loop.add_reader(self._socket, self._accept)
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = _bound(self._port)  # nobody else gets the port meanwhile
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self) -> None:
        client, _ = self._socket.accept()
        # Unless it ends well: a RST is an error, a FIN could be taken for the answer's end.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        task = self._loop.create_task(self._serve(client))
        self._open[task] = client
        task.add_done_callback(lambda done: self._open.pop(done).close())

    async def _serve(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client)
        try:
            while await self._exchange(reader, writer):
                pass
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
            writer.close()
            await writer.wait_closed()
        except (OSError, EOFError):
            pass  # a fault, or either side hung up
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection stays open."""
        head = await reader.readuntil(END)
        method, target = head.decode("latin-1").split(" ")[:2]
        headers, path = _headers(head), unquote(target)
        if "expect" in headers:
            writer.write(b"HTTP/1.1 100 Continue" + END)
        body = await _body(reader, headers)
        self.requests[method] += 1
        self.log.append((method, path))
        await asyncio.sleep(self.latency)
        fault = next((f for f in self._faults if f.takes(method, path)), Fault("none"))
        if fault.kind == "reset":
            raise ConnectionResetError
        if fault.kind == "refuse":
            answer, content = _refusal(fault.status, method)
        else:
            if self.ignores_conditions and method == "PUT" and "if-none-match" in headers:
                head = _unconditional(head, self._secret)
            answer, content = await self._ask(method, head, body)
        if fault.kind == "lose":
            raise ConnectionResetError
        cut = fault.kind == "truncate"
        writer.write(answer + (content[: fault.keep] if cut else content))
        await writer.drain()
        return not cut and _headers(answer).get("connection", "").lower() != "close"

    async def _ask(self, method: str, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """The server's answer, over a connection of its own, which cannot be a stale one."""
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            expects = "expect" in _headers(head)
            writer.write(head if expects else head + body)
            while (status := int((answer := await reader.readuntil(END)).split()[1])) < 200:
                writer.write(body if expects else b"")  # 100 Continue
            if method == "HEAD" or status in (204, 304):
                return answer, b""
            return answer, await _body(reader, _headers(answer))
        finally:
            writer.transport.abort()


def _bound(port: int) -> socket.socket:
    """A socket that has its port and does not listen yet: connections to it are refused."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setblocking(False)
    found.bind(("127.0.0.1", port))
    return found


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The raw bytes of a body, a chunked one's framing and trailers included."""
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", 0)))
    raw, size = bytearray(), 1
    while size:
        raw += (line := await reader.readuntil(b"\r\n"))
        size = int(line.partition(b";")[0], 16)
        raw += await reader.readexactly(size + 2 if size else 0)
    while not raw.endswith(END):
        raw += await reader.readuntil(b"\r\n")
    return bytes(raw)


def _refusal(status: int, method: str) -> tuple[bytes, bytes]:
    code, message = REFUSALS[status]
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    about = f"Content-Type: application/xml\r\nContent-Length: {len(body)}"
    head = f"HTTP/1.1 {status} {code}\r\n{about}".encode() + END
    return head, b"" if method == "HEAD" else body


def _unconditional(head: bytes, secret: str) -> bytes:
    """A PUT without ``If-None-Match``. Clients sign that header, so the rest is signed anew."""
    text = re.sub(r"(?i)\r\nif-none-match:[^\r]*", "", head.decode("latin-1"))
    headers = _headers(head)
    old = headers["authorization"]
    scope, signed = re.findall(r"/(\S+), SignedHeaders=(\S+),", old)[0]
    names = signed.replace(";if-none-match", "")
    values = [f"{name}:{' '.join(headers[name].split())}" for name in names.split(";")]
    target = text.split(" ")[1].partition("?")[::2]
    request = ["PUT", *target, *values, "", names, headers["x-amz-content-sha256"]]
    hashed = hashlib.sha256("\n".join(request).encode("latin-1")).hexdigest()
    statement = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashed])
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), statement):
        key = hmac.digest(key, part.encode(), "sha256")
    new = old.replace(signed, names).rpartition("=")[0] + f"={key.hex()}"
    return text.replace(old, new).encode("latin-1")
