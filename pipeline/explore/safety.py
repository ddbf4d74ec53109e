"""What keeps other sites away from the explorer, which serves this machine only.

A request must address it as `localhost` or `127.0.0.1`; otherwise a page on another site whose domain name
resolves to this machine could read the lake (DNS rebinding). No page may run a script, load anything from
elsewhere, or be shown in another site's frame.
"""

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("localhost", "127.0.0.1")

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def comes_from_elsewhere(request: Request) -> bool:
    """Whether the browser reports that another site led to a request."""
    return request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}


class SafeHeaders:
    """Adds `HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond as the application does, with these headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)
