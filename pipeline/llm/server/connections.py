"""Connections to one server that are kept and used again: POST a body, get status, headers and body.

aiohttp, because the `openai` package spends 1 to 2.7 ms of processor time on a request and aiohttp a quarter of a
millisecond (benchmarks/throughput.py): one core cannot send 2,000 a second otherwise.
"""

import asyncio
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp

from pipeline.errors import ConfigError

CONNECT_SECONDS = 10.0
"""Longest wait for a connection, TLS included."""


class CannotConnectError(Exception):
    """There is no connection to the server, or to the proxy before it (refused, no such name, no TLS)."""


class UntrustedError(Exception):
    """The server's certificate is not to be trusted, or not its own; nothing was sent."""


class DroppedError(Exception):
    """A connection ended, or broke the protocol, before the whole response had come."""


class Response(NamedTuple):
    """A response; header names are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """Connections to one server; a context manager, which closes them.

    Proxies come from the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), and so do certificates that are trusted
    instead of the system's (SSL_CERT_FILE, SSL_CERT_DIR).

    Args:
        base_url: Scheme, host, port and the beginning of every path.
        headers: Sent with every request.

    Raises:
        ConfigError: The environment names a proxy of another kind than HTTP.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self._base_url = base_url.rstrip("/")
        self._proxy = _proxy_for(base_url)
        self._headers = dict(headers)

    async def __aenter__(self) -> Self:
        # aiohttp's own context is as old as its import, and knows no later SSL_CERT_FILE.
        trusted = ssl.create_default_context() if self._base_url.startswith("https:") else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=trusted),  # how many are in flight is decided elsewhere
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
            UntrustedError: The server's certificate is not trusted.
            DroppedError: The connection ended before that.
        """
        # The session has no headers of its own: aiohttp would send them, and the key, to the proxy in the open.
        sending = self._session.post(
            self._base_url + path, data=body, headers=self._headers, allow_redirects=False, proxy=self._proxy
        )
        try:
            async with asyncio.timeout(timeout_seconds), sending as response:
                if response.status == 407:
                    raise CannotConnectError(_proxy_said(self._proxy, 407))
                return Response(response.status, response.headers, await response.read())
        except aiohttp.ConnectionTimeoutError:
            raise CannotConnectError("no connection in time") from None
        except aiohttp.ClientConnectorCertificateError as error:
            reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
            raise UntrustedError(reason) from None
        except aiohttp.ClientConnectorSSLError as error:
            raise CannotConnectError(f"no TLS: {error.strerror}; is its address one with http://?") from None
        except aiohttp.ClientProxyConnectionError as error:
            raise CannotConnectError(_proxy_said(self._proxy, error.strerror)) from None
        except aiohttp.ClientHttpProxyError as error:
            raise CannotConnectError(_proxy_said(self._proxy, error.status)) from None
        except aiohttp.ClientConnectorError as error:
            raise CannotConnectError(error.strerror or type(error.os_error).__name__) from None
        except (aiohttp.ClientError, OSError) as error:
            raise DroppedError(f"the connection ended ({type(error).__name__})") from None


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a server (HTTPS_PROXY, NO_PROXY, …); asked once, it is slow."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    host = parts.netloc.rpartition("@")[2]
    if not proxy or not host or urllib.request.proxy_bypass(host):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise ConfigError(
            f"{parts.scheme.upper()}_PROXY names a proxy of kind '{proxy.partition(':')[0]}'; only HTTP proxies "
            "can be used, whose addresses begin with http:// or https://"
        )
    return proxy


def _proxy_said(proxy: str | None, what: str | int | None) -> str:
    """What a proxy said, an HTTP status or an error; its password is left out."""
    host = urllib.parse.urlsplit(proxy or "").netloc.rpartition("@")[2]
    said = f"HTTP {what}" if isinstance(what, int) else what
    return f"the proxy {host} of HTTP_PROXY or HTTPS_PROXY: {said}"
