"""A port that anybody may connect to: each connection serves one request, within the guard's limits.

aiohttp parses and answers; what it would buffer without bound is counted, refused or dropped here.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from service.adapters.web import guard as http_guard
from service.adapters.web.guard import Guard, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import StreamReader
    from aiohttp.typedefs import Handler, Middleware
    from aiohttp.web_request import BaseRequest

BACKLOG = 1024
"""So many connections may wait to be accepted: Stripe delivers a burst all at once."""
READ_SIZE = 16 << 10
"""What the kernel buffers of a connection, and about the most that one read returns."""
PARSE_SIZE = 16 << 10
"""What aiohttp buffers of a body before it stops parsing."""
MOST_HEADERS = 64
HEADER_SIZE = 32 << 10
ACCEPT_AGAIN_S = 0.1
SHUTDOWN_LIMIT_S = 20.0

_OPTIONS: dict[str, Any] = {
    "access_log": None,
    "read_bufsize": PARSE_SIZE,
    "max_headers": MOST_HEADERS,
    "lingering_time": 0,  # it would buffer what we drop
    "auto_decompress": False,  # a body is signed as it travels
}
_STATUS = {
    http_guard.TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    http_guard.SLOW: HTTPStatus.REQUEST_TIMEOUT,
    http_guard.MEMORY: HTTPStatus.SERVICE_UNAVAILABLE,
}
_ERRORS: dict[str, type[web.HTTPException]] = {
    http_guard.SLOW: web.HTTPRequestTimeout,
    http_guard.MEMORY: web.HTTPServiceUnavailable,
}


class Connection(web.RequestHandler):
    """One connection, for one request. Implements ``http_guard.Held``."""

    def __init__(self, guard: Guard, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop=loop, **_OPTIONS)
        self._guard = guard
        self._header: bytearray | None = bytearray()
        self._lost = asyncio.Event()
        self._reading: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._why = http_guard.SLOW
        self.held = 0
        self.state = State.HEADER
        self.since = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.Transport, transport)
        self._guard.add(self)
        self._start_timer()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._guard.remove(self)
        self._lost.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """With no data: aiohttp parses on what it has kept back."""
        ready = self._admitted(data) if data else data
        if ready or not data:
            super().data_received(ready)

    def _admitted(self, data: bytes) -> bytes:
        """What to parse now: nothing of a request that is refused, before or because of *data*."""
        if self.state.receives:
            self._guard.hold(self, len(data))
        return self._with_header(data) if self.state.receives else b""

    def _with_header(self, data: bytes) -> bytes:
        """*data* after what is kept of the header; nothing until that is complete.

        A parsed header takes several times its size, so one that is not complete is not parsed.
        """
        if self._header is None:
            return data
        begin = max(0, len(self._header) - 3)
        self._header += data
        if self._header.find(b"\n\r\n", begin) >= 0 or not self._header[:1].strip().isalpha():
            data, self._header = bytes(self._header), None
            return data
        if len(self._header) > HEADER_SIZE:
            self.refuse(http_guard.TOO_LARGE)
        return b""

    def _start_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._guard.limits.request_s, self._on_timer)

    def _on_timer(self) -> None:
        if self.state.receives:
            self.refuse(http_guard.SLOW)
        elif self.state is State.ANSWERED:
            self.abort()

    def refuse(self, reason: str) -> None:
        self._guard.count(reason)
        if self._reading:
            self._why = reason
            self._guard.change(self, State.HANDLED)
            self._reading.reschedule(self._loop.time())
        else:
            self._guard.change(self, State.ANSWERED)
            self._header = None
            status = _STATUS[reason]
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            self._wire.write(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
            self._wire.close()
        self._guard.release(self)

    def abort(self) -> None:
        self._guard.remove(self)
        self._wire.abort()

    def take(self) -> None:
        """The header is here. Raises what answers 503 where the guard refused it just before."""
        if self.state is not State.HEADER:
            raise web.HTTPServiceUnavailable
        self._guard.change(self, State.HANDLED)

    async def read(self, content: StreamReader) -> bytes:
        """The whole body, within the limits of time, size and memory."""
        self._guard.change(self, State.BODY)
        body = bytearray()
        try:
            async with asyncio.timeout(None) as self._reading:
                while not content.at_eof():
                    body += await content.readany()
                    if len(body) > self._guard.limits.body:
                        raise too_large(self._guard)
            return bytes(body)
        except TimeoutError:
            raise _ERRORS[self._why] from None
        except (web.RequestPayloadError, ConnectionError):
            raise web.HTTPBadRequest from None
        finally:
            body.clear()  # what is raised here is the answer, and keeps this frame while it is sent
            self._reading = None
            self._guard.change(self, State.HANDLED)
            self._guard.release(self)

    def drop(self, content: StreamReader) -> None:
        """Frees what was received of a body that nobody reads."""
        if content.exception() is None:
            while content.read_nowait():
                pass
        self._guard.release(self)

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answers, and closes; first lets a sender that is still sending read the answer."""
        self._guard.change(self, State.ANSWERED)
        self._start_timer()
        self.drop(request.content)
        resp.force_close()
        ended = await super().finish_response(request, resp, start_time)
        if not (request.content.is_eof() or self._wire.is_closing()):
            self._wire.write_eof()
            await self._lost.wait()
        return ended

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is not HTTP is the sender's fault, counted; all else is a bug of ours, and logged."""
        if status != HTTPStatus.BAD_REQUEST:
            return super().handle_error(request, status, exc, message)
        self._guard.count(http_guard.MALFORMED)
        return web.Response(status=status)


def too_large(guard: Guard) -> web.HTTPException:
    guard.count(http_guard.TOO_LARGE)
    return web.HTTPRequestEntityTooLarge(guard.limits.body, guard.limits.body, text="")


async def body_of(request: web.Request) -> bytes:
    """All of it. Raises what answers 413, 408, 503, or 400 to a sender that ends in the middle."""
    return await cast(Connection, request.protocol).read(request.content)


def _admitting(guard: Guard) -> Middleware:
    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        """A body that is too large, or that no handler reads, is not read."""
        connection = cast(Connection, request.protocol)
        connection.take()
        if (request.content_length or 0) > guard.limits.body:
            raise too_large(guard)
        if request.method != "POST":
            connection.drop(request.content)
        return await handler(request)

    return admit


@asynccontextmanager
async def listening(
    guard: Guard, routes: list[web.RouteDef], host: str, port: int
) -> AsyncIterator[tuple[str, int]]:
    """Serves *routes* while the body runs; gives the address. Raises OSError where it cannot listen."""
    app = web.Application(middlewares=[_admitting(guard)])
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_LIMIT_S)
    with ExitStack() as sockets:
        listeners = [sockets.enter_context(s) for s in await _listeners(host, port)]
        await runner.setup()
        server = cast(web.Server, runner.server)
        tasks = [asyncio.create_task(_accept(guard, server, listener)) for listener in listeners]
        try:
            yield listeners[0].getsockname()[:2]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            sockets.close()
            guard.close_idle()
            await runner.cleanup()


async def _listeners(host: str, port: int) -> list[socket.socket]:
    """One for each address of *host*; all of them or none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with ExitStack() as opened:
        listeners = [
            opened.enter_context(socket.create_server(address, family=family, backlog=BACKLOG))
            for family, address in dict.fromkeys((info[0], info[4]) for info in found)
        ]
        for listener in listeners:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_SIZE)
        opened.pop_all()
    return listeners


async def _accept(guard: Guard, server: web.Server, listener: socket.socket) -> None:
    """Accepts one connection after the other: what those before it have sent is read first."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            accepted, _ = await loop.sock_accept(listener)
            with ExitStack() as failed:
                failed.enter_context(accepted)
                await guard.room()
                failed.pop_all()
            await _connect(lambda: Connection(guard, server, loop), accepted)
        except OSError as error:
            guard.warn("http.not_accepted", type(error).__name__, error=str(error))
            await asyncio.sleep(ACCEPT_AGAIN_S)


async def _connect(protocol: Callable[[], Connection], accepted: socket.socket) -> None:
    """Whole, even where it is cancelled: uvloop would close a connection that is answering already."""
    loop = asyncio.get_running_loop()
    connecting = asyncio.ensure_future(loop.connect_accepted_socket(protocol, accepted))
    try:
        await asyncio.shield(connecting)
    except asyncio.CancelledError:
        await connecting
        raise
    except OSError:
        accepted.close()
        raise
