"""Connections to one server that are kept and used again: POST a body, get status, headers and body.

aiohttp, because the `openai` package spends 1 to 2.7 ms of processor time on a request and aiohttp a quarter of a
millisecond (benchmarks/throughput.py): one core cannot send 2,000 a second otherwise.
"""

import asyncio
import urllib.parse
import urllib.request
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp

CONNECT_SECONDS = 10.0
"""Longest wait for a connection, TLS included."""


class CannotConnectError(Exception):
    """There is no connection to the server (refused, no such name, no trust in its certificate)."""


class DroppedError(Exception):
    """A connection ended, or broke the protocol, before the whole response had come."""


class Response(NamedTuple):
    """A response; header names are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """Connections to one server; a context manager, which closes them. Proxies come from the environment.

    Args:
        base_url: Scheme, host, port and the beginning of every path.
        headers: Sent with every request.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self._base_url = base_url.rstrip("/")
        self._proxy = _proxy_for(base_url)
        self._headers = dict(headers)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # how many requests are in flight is decided elsewhere
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> Response:
        """Send a body and wait for the whole response; redirects are not followed, they would carry the key along.

        Raises:
            TimeoutError: It has not come within so many seconds.
            CannotConnectError: There is no connection.
            DroppedError: The connection ended before that.
        """
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                self._session.post(
                    self._base_url + path, data=body, allow_redirects=False, proxy=self._proxy
                ) as response,
            ):
                return Response(response.status, response.headers, await response.read())
        except aiohttp.ConnectionTimeoutError:
            raise CannotConnectError("no connection in time") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise CannotConnectError(f"certificate: {error.certificate_error}") from None
        except aiohttp.ClientConnectorError as error:
            raise CannotConnectError(error.strerror or type(error.os_error).__name__) from None
        except aiohttp.ClientHttpProxyError as error:
            raise CannotConnectError(f"the proxy said {error.status}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise DroppedError(f"the connection ended ({type(error).__name__})") from None


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a server (HTTPS_PROXY, NO_PROXY, …); asked once, it is slow."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or not parts.hostname or urllib.request.proxy_bypass(parts.hostname):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
