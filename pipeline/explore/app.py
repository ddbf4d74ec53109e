"""The explorer's web application.

It answers on this machine alone: a request has to name it as `localhost` or `127.0.0.1` (else a page elsewhere,
whose name was made to point here, could read the lake: DNS rebinding), and no page may run a script, load anything
from elsewhere or stand in another site's frame.
"""

import duckdb
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.config import Config
from pipeline.errors import LatentlakeError
from pipeline.explore.catalog import Catalog
from pipeline.explore.feature import feature_page
from pipeline.explore.pages import FOLDER, STYLE, Pages
from pipeline.explore.run import run_page
from pipeline.explore.search import Search, features_page

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


class Explorer:
    """The pages of one experiment."""

    def __init__(self, config: Config) -> None:
        self._catalog = Catalog(config)
        self._pages = Pages(config.name)

    def routes(self) -> list[Route]:
        """Every address and what answers it."""
        return [
            Route("/", lambda _request: RedirectResponse("/features"), name="home"),
            Route("/style.css", _style),
            Route("/icon.svg", _icon),
            Route("/features", self.features),
            Route("/features/{sae}/{feature:int}", self.feature),
            Route("/features/{sae}/{feature:int}/requests", self.requests),
            Route("/run", self.run),
        ]

    def features(self, request: Request) -> Response:
        """The list of features."""
        search = Search.of(request.query_params)
        with self._catalog.reading() as reader:
            if search.is_feature_number and (sae := search.sae or reader.only_sae()):
                return RedirectResponse(f"/features/{sae}/{int(search.words)}", 303)
            return self._pages.page("features", **features_page(reader, search))

    def feature(self, request: Request) -> Response:
        """One feature."""
        sae, feature = request.path_params["sae"], request.path_params["feature"]
        explanation_id = request.query_params.get("explanation", "")
        shows_all = request.query_params.get("windows") == "all"
        with self._catalog.reading() as reader:
            found = feature_page(reader, self._catalog.vocabulary(), sae, feature, explanation_id, shows_all)
        if found is None:
            raise HTTPException(404, f"SAE '{sae}' has no feature {feature}, or its statistics are not made yet")
        return self._pages.page("feature", sae=sae, feature=feature, **found)

    def requests(self, request: Request) -> Response:
        """What was asked about one feature."""
        own = request.path_params
        with self._catalog.reading() as reader:
            reader.narrow_requests(own["sae"], own["feature"])
            rows = reader.rows("feature_requests", **own)
        return self._pages.page("requests", **own, rows=rows)

    def run(self, _request: Request) -> Response:
        """The run."""
        return self._pages.page("run", **run_page(self._catalog))

    def failure(self, _request: Request, error: Exception) -> Response:
        """What a page says that cannot be shown: a sentence, and no stack trace."""
        if isinstance(error, HTTPException):
            title = _TITLES.get(error.status_code, "Not possible")
            return self._pages.page("message", error.status_code, title=title, sentence=error.detail)
        return self._pages.page("message", 503, title="Not there yet", sentence=str(error))


_TITLES = {404: "Not found", 403: "Not allowed", 400: "Not understood"}


def create_app(config: Config) -> Starlette:
    """The application for one experiment."""
    explorer = Explorer(config)
    return Starlette(
        routes=explorer.routes(),
        middleware=[
            Middleware(SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False),
        ],
        exception_handlers={
            HTTPException: explorer.failure, LatentlakeError: explorer.failure, duckdb.Error: explorer.failure,
        },
    )


class SafeHeaders:
    """Puts `HEADERS` on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, with these headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _icon(_request: Request) -> Response:
    return FileResponse(FOLDER / "icon.svg", headers={"cache-control": "max-age=86400"})


def _style(_request: Request) -> Response:
    return FileResponse(STYLE, headers={"cache-control": "max-age=86400"})
