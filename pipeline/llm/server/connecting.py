"""Explains why a connection to a server failed, from the errors of aiohttp, the layer below `openai`.

The package reports only that a connection failed. Whether there was none, a certificate is not trusted, or a proxy
refused is in the causes of its error.
"""

import urllib.parse
import urllib.request

import aiohttp

from pipeline.errors import ConfigError
from pipeline.llm.server.reading import Failure


def check_proxy(url: str) -> None:
    """Raise ConfigError if the environment sets a proxy for a server that is not an HTTP proxy."""
    proxy, variable = _proxy_of(url)
    kind = proxy.partition("://")[0] if "://" in proxy else "http"
    if kind not in {"http", "https"}:
        raise ConfigError(
            f"{variable} names a proxy of kind '{kind}'; set it to an HTTP proxy, whose address begins with "
            "http:// or https://"
        )


def connection_failure(error: BaseException, url: str) -> Failure:
    """The failure that a connection error means.

    Raises:
        ConfigError: The server's certificate is not trusted or does not match it; nothing was sent.
    """
    cause = _transport_error(error)
    match cause:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(cause.certificate_error, "verify_message", "") or str(cause.certificate_error)
            raise ConfigError(
                f"{url} has a certificate that is not trusted ({reason}); set environment variable "
                "SSL_CERT_FILE to a file with the certificate that signs it, or correct base_url"
            ) from None
        case aiohttp.ConnectionTimeoutError():
            return _unconnected(url, "no connection in time")
        case aiohttp.ClientConnectorSSLError():
            return _unconnected(url, f"no TLS: {cause.strerror}; should its address begin with http://?")
        case aiohttp.ClientProxyConnectionError():
            return proxy_failure(url, cause.strerror or "no connection")
        case aiohttp.ClientHttpProxyError():
            return proxy_failure(url, f"HTTP {cause.status}")
        case aiohttp.ClientConnectorError():
            return _unconnected(url, cause.strerror or type(cause.os_error).__name__)
    return Failure(f"{url} closed the connection before it answered", passes=True)


def proxy_failure(url: str, said: str) -> Failure:
    """The failure of a proxy that refused a request: its address without the password, and its message."""
    proxy, variable = _proxy_of(url)
    host = urllib.parse.urlsplit(proxy if "://" in proxy else f"//{proxy}").netloc.rpartition("@")[2]
    return _unconnected(url, f"the proxy {host} of {variable}: {said}")


def _unconnected(url: str, why: str) -> Failure:
    return Failure(f"no connection to {url} ({why})", passes=True, connected=False)


def _transport_error(error: BaseException) -> BaseException:
    """The first aiohttp error among an error and its causes, or the error itself."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, aiohttp.ClientError):
        cause = cause.__cause__
    return cause or error


def _proxy_of(url: str) -> tuple[str, str]:
    """The proxy set in the environment for a server's scheme, empty if none, and the variable's name."""
    scheme = urllib.parse.urlsplit(url).scheme
    proxies = urllib.request.getproxies()
    name = scheme if scheme in proxies else "all"
    return proxies.get(name, ""), f"{name.upper()}_PROXY"
