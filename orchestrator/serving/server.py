"""The web server of the live report: on loopback, behind a random token."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from orchestrator.ledger.ledger import Ledger
from orchestrator.serving.live_state import LiveState
from orchestrator.serving.queries import Queries

HOST = "127.0.0.1"
LARGEST_REQUEST = 64 << 10
"""Bytes of a query."""
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # a link must not pass the token on
    "X-Content-Type-Options": "nosniff",
}
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data:;"
    " connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""The page runs no script but its own; charts need inline styles."""


def serve(
    ledger: Ledger, studies: tuple[str, ...], port: int, on_ready: Callable[[str], None]
) -> None:
    """Serve the live report of some studies until Ctrl-C.

    ``port`` 0 is any free one. ``on_ready`` is called with the address, which contains the token.

    Raises:
        OSError: the port is taken.
    """
    with socket.create_server((HOST, port)) as listener:
        port = listener.getsockname()[1]
        token = secrets.token_urlsafe(24)
        app = application(ledger, studies, token, f"{HOST}:{port}", f"localhost:{port}")

        async def ready(_: web.Application) -> None:
            on_ready(f"http://{HOST}:{port}/{token}/")

        app.on_startup.append(ready)
        web.run_app(app, sock=listener, print=None, access_log=None, shutdown_timeout=1.0)


def application(
    ledger: Ledger, studies: tuple[str, ...], token: str, *hosts: str
) -> web.Application:
    """Return the server's application, which answers below ``/TOKEN/`` and to these hosts only."""
    state, queries = LiveState(ledger, studies), Queries(ledger.store.url)
    first_look = asyncio.Event()

    async def background(_: web.Application) -> AsyncIterator[None]:
        async def follow() -> None:
            await state.look()
            first_look.set()
            await state.follow()

        task = asyncio.create_task(follow())
        yield
        task.cancel()
        queries.close()

    async def page(_: web.Request) -> web.Response:
        await first_look.wait()
        if not state.page:
            return web.Response(status=503, text=f"The store cannot be read: {state.problem}")
        nonce = secrets.token_urlsafe(16)
        response = web.Response(
            text=state.page.replace(state.placeholder, nonce), content_type="text/html"
        )
        response.headers["Content-Security-Policy"] = POLICY.format(nonce=nonce)
        return response

    async def current(_: web.Request) -> web.Response:
        return web.json_response(state.plain())

    async def query(request: web.Request) -> web.Response:
        sql = _sql(await request.read()) if request.content_type == "application/json" else None
        if sql is None:
            return web.json_response({"error": 'send {"sql": "SELECT …"} as JSON'}, status=400)
        return web.json_response(await queries.answer(sql, state.newest))

    app = web.Application(
        client_max_size=LARGEST_REQUEST, middlewares=[_guard(token, frozenset(hosts))]
    )
    app.cleanup_ctx.append(background)
    app.router.add_get("/{token}/", page)
    app.router.add_get("/{token}/page", page)
    app.router.add_get("/{token}/state", current)
    app.router.add_post("/{token}/query", query)
    return app


def _sql(body: bytes) -> str | None:
    """Return the query in a request's body; None if there is none."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    sql = cast("dict[str, Any]", content).get("sql")
    return sql if isinstance(sql, str) else None


def _guard(token: str, hosts: frozenset[str]) -> Middleware:
    """Return the middleware that refuses foreign hosts, pages and tokens, and adds headers.

    A page elsewhere whose name resolves to 127.0.0.1 sends its own name as the host.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await _answer(request, handler)
        response.headers.update(HEADERS)
        response.headers.setdefault("Content-Security-Policy", "default-src 'none'")
        response.headers["Server"] = "segprint"
        return response

    async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if request.headers.get("Host") not in hosts:
            return web.Response(status=403, text="unknown host")
        if origin is not None and origin.removeprefix("http://") not in hosts:
            return web.Response(status=403, text="unknown origin")
        given = request.path.split("/")[1]
        if not hmac.compare_digest(given.encode(), token.encode()):
            return web.Response(status=404, text="not found")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return web.Response(status=error.status, text=error.reason)

    return guard
