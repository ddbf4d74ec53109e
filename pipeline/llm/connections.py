"""HTTP/1.1 connections that are kept and used again: POST a body, get status, headers and body.

The `openai` package spends 1 to 2.7 ms of processor time on a request, httpx alone 1 ms, so that one core cannot
send 2,000 a second (benchmarks/throughput.py); this module spends 0.1 ms. Framing is parsed by llhttp, the
parser of Node.js, through `httptools`. Proxies are taken from the environment, as everywhere.
"""

import asyncio
import base64
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httptools
import httpx2

CONNECT_SECONDS = 10.0
"""Longest wait for a connection, TLS included."""


class CannotConnectError(Exception):
    """There is no connection to the server (refused, no such name, no trust in its certificate)."""


class DroppedError(Exception):
    """A connection ended, or broke the protocol, before the whole response had come."""


@dataclass
class Response:
    """A response; header names are in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Connections:
    """Connections to one server; a context manager, which closes them.

    Args:
        base_url: Scheme, host, port and the beginning of every path.
        headers: Sent with every request.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        url = urllib.parse.urlsplit(base_url)
        self._host = url.hostname or ""
        self._tls = url.scheme == "https"
        self._port = url.port or (443 if self._tls else 80)
        self._path = url.path.rstrip("/")
        self._proxy = _proxy_for(url)
        host = url.netloc.rpartition("@")[2]
        lines = [f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
        if self._proxy and not self._tls:
            self._path = f"http://{host}{self._path}"
            lines += _proxy_authorization(self._proxy)
        self._lines = "\r\n".join(lines)
        self._context = httpx2.create_ssl_context() if self._tls else None
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in list(self._all):
            connection.close()

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> Response:
        """Send a body and wait for the whole response.

        Raises:
            TimeoutError: It has not come within so many seconds.
            CannotConnectError: There is no connection.
            DroppedError: The connection ended before that.
        """
        head = f"POST {self._path}{path} HTTP/1.1\r\n{self._lines}\r\nContent-Length: {len(body)}\r\n\r\n"
        async with asyncio.timeout(timeout_seconds):
            connection = await self._connection(timeout_seconds)
            try:
                response = await connection.exchange(head.encode("latin-1") + body)
            except BaseException:
                connection.close()
                raise
        if connection.is_open:
            self._idle.append(connection)
        return response

    async def _connection(self, timeout_seconds: float) -> "_Connection":
        """One that is idle and open, the latest used first; else a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        try:
            async with asyncio.timeout(min(CONNECT_SECONDS, timeout_seconds)):
                return await self._connect()
        except TimeoutError:
            raise CannotConnectError("no connection in time") from None
        except ssl.SSLCertVerificationError as error:
            raise CannotConnectError(f"certificate: {error.verify_message}") from None
        except (OSError, DroppedError) as error:
            raise CannotConnectError(getattr(error, "strerror", None) or type(error).__name__) from None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        connection = _Connection(self._all)
        server_hostname = self._host if self._tls else None
        if self._proxy is None:
            await loop.create_connection(
                lambda: connection, self._host, self._port, ssl=self._context, server_hostname=server_hostname
            )
            return connection
        proxy_host, proxy_port = self._proxy.hostname or "", self._proxy.port or 80
        if self._context is None:
            await loop.create_connection(lambda: connection, proxy_host, proxy_port)
            return connection
        reader, writer = await asyncio.open_connection(proxy_host, proxy_port)
        target = f"{self._host}:{self._port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *_proxy_authorization(self._proxy)]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        status = (await reader.readuntil(b"\r\n\r\n"))[9:12]
        if status != b"200":
            writer.close()
            raise CannotConnectError(f"the proxy said {status.decode('latin-1')}")
        transport = await loop.start_tls(
            writer.transport, connection, self._context, server_hostname=server_hostname
        )
        if transport is None:
            raise DroppedError("TLS")
        connection.connection_made(transport)
        return connection


class _Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, members: "set[_Connection]") -> None:
        self._members = members
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Response] | None = None
        self._start()

    def _start(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._response = Response()
        self._pieces: list[bytes] = []
        self._has_headers = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, message: bytes) -> Response:
        """Send a request and wait for its response. Raises DroppedError."""
        if self._transport is None:
            raise DroppedError("closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._members.add(self)

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:  # nobody asked: what is it then
            return self.close()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
            self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._members.discard(self)
        self._transport = None
        framed = {"content-length", "transfer-encoding"} & self._response.headers.keys()
        # Without a length the end of the connection is the end of the body.
        self._end(self._whole() if self._has_headers and not framed and error is None else None)

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._has_headers = True
        self._response.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._response.status < 200:  # 100 Continue and the like go before the response
            self._response, self._has_headers = Response(), False
            return
        whole, keeps = self._whole(), self._parser.should_keep_alive()
        self._start()
        if not keeps:
            self.close()
        self._end(whole)

    def _whole(self) -> Response:
        self._response.body = b"".join(self._pieces)
        return self._response

    def _end(self, response: Response | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            if response is None:
                self._waiting.set_exception(DroppedError("the connection ended"))
            else:
                self._waiting.set_result(response)


def _proxy_for(url: urllib.parse.SplitResult) -> urllib.parse.SplitResult | None:
    """The proxy that the environment names for a server (HTTPS_PROXY, NO_PROXY, …), or None."""
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or not url.hostname or urllib.request.proxy_bypass(url.hostname):
        return None
    return urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _proxy_authorization(proxy: urllib.parse.SplitResult) -> list[str]:
    if proxy.username is None:
        return []
    user = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return [f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}"]
