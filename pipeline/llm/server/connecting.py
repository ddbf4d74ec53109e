"""Why there was no connection to a server, in words: what the layers below `openai` say, aiohttp's errors.

The package tells only that a connection failed. Whether there was none, a certificate is not trusted or a proxy
refused is in the causes of its error.
"""

import urllib.parse
import urllib.request

import aiohttp

from pipeline.errors import ConfigError
from pipeline.llm.server.reading import Failure


def check_proxy(url: str) -> None:
    """Raise ConfigError if the environment names a proxy of another kind than HTTP for a server."""
    proxy, variable = _proxy_of(url)
    kind = proxy.partition("://")[0] if "://" in proxy else "http"
    if kind not in {"http", "https"}:
        raise ConfigError(
            f"{variable} names a proxy of kind '{kind}'; only HTTP proxies can be used, whose addresses begin "
            "with http:// or https://"
        )


def connection_failure(error: BaseException, url: str) -> Failure:
    """What an error of a connection to a server means.

    Raises:
        ConfigError: The server's certificate is not trusted, or not its own; nothing was sent.
    """
    cause = _transport_error(error)
    match cause:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(cause.certificate_error, "verify_message", "") or str(cause.certificate_error)
            raise ConfigError(
                f"{url} has a certificate that is not trusted ({reason}); let environment variable "
                "SSL_CERT_FILE name a file with the certificate that signs it, or correct base_url"
            ) from None
        case aiohttp.ConnectionTimeoutError():
            return _unconnected(url, "no connection in time")
        case aiohttp.ClientConnectorSSLError():
            return _unconnected(url, f"no TLS: {cause.strerror}; is its address one with http://?")
        case aiohttp.ClientProxyConnectionError():
            return proxy_failure(url, cause.strerror or "no connection")
        case aiohttp.ClientHttpProxyError():
            return proxy_failure(url, f"HTTP {cause.status}")
        case aiohttp.ClientConnectorError():
            return _unconnected(url, cause.strerror or type(cause.os_error).__name__)
    return Failure(f"{url} ended the connection before its answer", passes=True)


def proxy_failure(url: str, said: str) -> Failure:
    """A proxy that did not let a request through, named without its password, and what it said."""
    proxy, variable = _proxy_of(url)
    host = urllib.parse.urlsplit(proxy if "://" in proxy else f"//{proxy}").netloc.rpartition("@")[2]
    return _unconnected(url, f"the proxy {host} of {variable}: {said}")


def _unconnected(url: str, why: str) -> Failure:
    return Failure(f"no connection to {url} ({why})", passes=True, connected=False)


def _transport_error(error: BaseException) -> BaseException:
    """The first error of aiohttp among an error and its causes, or the error itself."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, aiohttp.ClientError):
        cause = cause.__cause__
    return cause or error


def _proxy_of(url: str) -> tuple[str, str]:
    """The proxy that the environment names for a server's scheme, empty without one, and the variable's name."""
    scheme = urllib.parse.urlsplit(url).scheme
    proxies = urllib.request.getproxies()
    name = scheme if scheme in proxies else "all"
    return proxies.get(name, ""), f"{name.upper()}_PROXY"
