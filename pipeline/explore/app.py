"""The explorer's web application.

It serves this machine only. A request must address it as `localhost` or `127.0.0.1`; otherwise a page on another
site whose domain name resolves to this machine could read the lake (DNS rebinding). No page may run a script, load
anything from elsewhere, or be shown in another site's frame.
"""

from collections.abc import Callable
from hmac import compare_digest
from urllib.parse import parse_qsl, urlencode

import duckdb
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
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
from pipeline.explore import texts
from pipeline.explore.catalog import Catalog
from pipeline.explore.feature import feature_page, requests_page
from pipeline.explore.meaning import Embed, Found, Meanings
from pipeline.explore.pages import FOLDER, STYLE, Pages
from pipeline.explore.readers import MOST_CHARACTERS as MOST_NAME_CHARACTERS
from pipeline.explore.readers import VERDICTS, keep_rating, next_page, readers_page
from pipeline.explore.run import run_page
from pipeline.explore.search import Search, features_page, page_number
from pipeline.explore.statement import MOST_CHARACTERS, SECONDS, answer, examples, features_of
from pipeline.explore.texts import Texts
from pipeline.tables import TABLES

_HOSTS = ("localhost", "127.0.0.1")

_DIGITS = 9
"""The largest number of digits of a number in an address."""

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class _Explorer:
    """The pages of one experiment."""

    def __init__(self, config: Config, token: str, load: Callable[[Config], Embed] | None = None) -> None:
        self.token = token
        self._config = config
        self._texts = Texts(config)
        self._catalog = Catalog(config)
        self._meanings = Meanings(self._catalog, load)
        self._pages = Pages(config.name)

    def routes(self) -> list[Route]:
        """Every address and its handler."""
        return [
            Route("/", lambda _request: RedirectResponse("/features"), name="home"),
            Route("/style.css", _style),
            Route("/icon.svg", _icon),
            Route("/features", self.features),
            Route("/features/{sae}/{feature:number}", self.feature),
            Route("/features/{sae}/{feature:number}/requests", self.requests),
            Route("/run", self.run),
            Route("/sql", self.sql),
            Route("/text", self.text),
            Route("/readers", self.readers),
            Route("/readers/next", self.next_to_rate),
            Route("/readers/next", self.rate, methods=["POST"]),
        ]

    def features(self, request: Request) -> Response:
        """The list of features."""
        search = Search.of(request.query_params)
        with self._catalog.reading() as reader:
            if search.is_feature_number and (sae := search.sae or reader.only_sae()):
                return RedirectResponse(f"/features/{sae}/{int(search.words)}", 303)
            near, error = self._near(search, is_from_elsewhere=_comes_from_elsewhere(request))
            found = features_page(reader, search, self._catalog.held("filter_values"), near)
        is_loading = search.is_by_meaning and not near and not error
        misfits = self._catalog.misfits({row["sae"] for row in found["rows"]})
        return self._pages.page(
            "features", misfits, **found, error=error, is_loading=is_loading, no_meaning=self._meanings.missing
        )

    def _near(self, search: Search, *, is_from_elsewhere: bool) -> tuple[Found | None, str]:
        """What a search by meaning found, or why nothing was searched."""
        if not search.is_by_meaning:
            return None, ""
        if is_from_elsewhere:
            return None, "You came here from another site, so nothing has been searched. Press Search."
        try:
            return self._meanings.search(search.words), ""
        except LatentlakeError as failure:
            return None, str(failure)

    def feature(self, request: Request) -> Response:
        """One feature."""
        sae, feature = request.path_params["sae"], request.path_params["feature"]
        explanation_id = request.query_params.get("explanation", "")
        shows_all = request.query_params.get("windows") == "all"
        with self._catalog.reading() as reader:
            found = feature_page(reader, self._catalog.vocabulary(), sae, feature, explanation_id, shows_all)
            if found is None:
                raise HTTPException(404, reader.missing(sae, feature))
        return self._pages.page("feature", self._catalog.misfits([sae]), sae=sae, feature=feature, **found)

    def requests(self, request: Request) -> Response:
        """The requests about one feature, or one of them."""
        own, asked = request.path_params, request.query_params
        page = page_number(asked.get("page", ""))
        with self._catalog.reading() as reader:
            reader.narrow(own["sae"], own["feature"])
            reader.narrow_requests(own["sae"], own["feature"])
            found = requests_page(reader, **own, request_id=asked.get("id"), page=page)
        return self._pages.page("requests", self._catalog.misfits([own["sae"]]), **own, **found)

    def run(self, _request: Request) -> Response:
        """The run."""
        return self._pages.page("run", self._catalog.misfits(), **run_page(self._catalog))

    def sql(self, request: Request) -> Response:
        """One select on the lake. A statement that comes from another site is shown but not run."""
        statement = request.query_params.get("q", "").strip()
        is_from_elsewhere = _comes_from_elsewhere(request)
        result = answer(self._catalog.folder, statement) if statement and not is_from_elsewhere else None
        return self._pages.page(
            "sql",
            self._catalog.misfits(),
            statement=statement,
            result=result,
            is_from_elsewhere=bool(statement) and is_from_elsewhere,
            features=features_of(result, self._config.sae_names) if result else [],
            examples=examples(),
            tables=list(TABLES.values()),
            seconds=SECONDS,
            most_characters=MOST_CHARACTERS,
        )

    def text(self, request: Request) -> Response:
        """What fires on a reader's own text."""
        text = request.query_params.get("text", "")[: texts.MOST_CHARACTERS]
        token = request.query_params.get("token", "")
        is_from_elsewhere = bool(text) and _comes_from_elsewhere(request)
        is_asked = bool(text.strip()) and not is_from_elsewhere
        found, error = None, "the text is blank" if text.isspace() else ""
        if is_asked:
            try:
                found = self._texts.read(text)
            except LatentlakeError as failure:
                error = str(failure)
        shown = None
        if found:
            is_position = token.isdecimal() and len(token) <= _DIGITS
            with self._catalog.reading() as reader:
                shown = texts.text_page(reader, found, int(token) if is_position else None)
        return self._pages.page(
            "text",
            self._catalog.misfits(),
            text=text,
            found=shown,
            error=error,
            is_loading=is_asked and not found and not error,
            is_from_elsewhere=is_from_elsewhere,
            most_characters=texts.MOST_CHARACTERS,
            context_length=self._config.corpus.context_length,
            n_saes=len(self._config.saes),
        )

    def readers(self, request: Request) -> Response:
        """The ratings, and where to begin; the token that `make explore` printed allows rating."""
        if (token := request.query_params.get("token")) is not None:
            if not compare_digest(token.strip().encode(), self.token.encode()):
                raise HTTPException(403, "that is not the token that 'make explore' printed when it started")
            answer = RedirectResponse("/readers", 303)
            answer.set_cookie(_cookie(request), self.token, path="/readers", httponly=True, samesite="strict")
            return answer
        with self._catalog.reading() as reader:
            found = readers_page(reader)
        may_rate = self._may_rate(request)
        return self._pages.page("readers", self._catalog.misfits(), rater="", may_rate=may_rate, **found)

    def next_to_rate(self, request: Request) -> Response:
        """The explanation that a reader rates next."""
        rater = _name_of(request.query_params.get("rater", ""))
        if not self._may_rate(request) or not rater:
            return RedirectResponse("/readers", 303)
        with self._catalog.reading() as reader:
            found = next_page(reader, self._catalog.vocabulary(), rater)
        misfits = self._catalog.misfits([found["item"]["sae"]]) if found["item"] else []
        return self._pages.page("rate", misfits, rater=rater, verdicts=VERDICTS, **found)

    async def rate(self, request: Request) -> Response:
        """Store a rating, if it comes from a page of this explorer and from somebody who has the token."""
        own = f"{request.url.scheme}://{request.headers['host']}"
        if request.headers.get("origin") != own or _comes_from_elsewhere(request):
            raise HTTPException(403, "a rating must come from the explorer's own pages, and from no other site")
        if not self._may_rate(request):
            raise HTTPException(403, "rating needs the token that 'make explore' printed; enter it under Readers")
        given = await _form(request)
        rater, verdict = _name_of(given.get("rater", "")), given.get("verdict", "")
        shown = {name: given.get(name, "") for name in ("explanation_id", "explanation_sha256")}
        if not rater or verdict not in VERDICTS or not all(map(str.isalnum, shown.values())):
            raise HTTPException(400, "a rating needs a name, an explanation and one of the verdicts")
        await run_in_threadpool(self._keep, shown, rater, verdict)
        return RedirectResponse(f"/readers/next?{urlencode({'rater': rater})}", 303)

    def _keep(self, shown: dict[str, str], rater: str, verdict: str) -> None:
        with self._catalog.reading() as reader:
            if reader.row("explanation_to_rate", **shown) is None:
                sentence = "the explanation that was shown has changed or is gone; begin again under Readers"
                raise HTTPException(400, sentence)
        seal = None if self._catalog.objects is None else self._catalog.objects.seal
        keep_rating(self._catalog.folder, **shown, rater=rater, verdict=verdict, seal=seal)

    def _may_rate(self, request: Request) -> bool:
        return compare_digest(request.cookies.get(_cookie(request), "").encode(), self.token.encode())

    def failure(self, _request: Request, error: Exception) -> Response:
        """The page for a request that cannot be served: one sentence, no stack trace."""
        if isinstance(error, HTTPException):
            title = _TITLES.get(error.status_code, "Not possible")
            return self._pages.page("message", (), error.status_code, title=title, sentence=error.detail)
        return self._pages.page("message", (), 503, title="Not there yet", sentence=str(error))

    def fault(self, _request: Request, _error: Exception) -> Response:
        """The page for a bug of ours; the server's terminal has the details."""
        sentence = "This page failed because of a bug in latentlake; see the terminal of 'make explore'."
        answer = self._pages.page("message", (), 500, title="Internal error", sentence=sentence)
        answer.headers.update(_HEADERS)
        return answer


_TITLES = {404: "Not found", 403: "Not allowed", 400: "Not understood"}


def _cookie(request: Request) -> str:
    """The cookie's name, with the port: browsers share cookies between all ports of a host."""
    return f"latentlake_token_{request.url.port or 80}"


class _Number(IntegerConvertor):
    """A feature's number in an address; Python refuses to read numbers of thousands of digits."""

    regex = f"[0-9]{{1,{_DIGITS}}}"


register_url_convertor("number", _Number())


def create_app(config: Config, token: str, load: Callable[[Config], Embed] | None = None) -> Starlette:
    """The application for one experiment.

    Args:
        config: The experiment.
        token: Readers who have it may rate explanations.
        load: Loads the embedding model; by default that of the scorer `embedding`. Tests give a small one.
    """
    explorer = _Explorer(config, token, load)
    return Starlette(
        routes=explorer.routes(),
        middleware=[
            Middleware(_SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(_HOSTS), www_redirect=False),
        ],
        exception_handlers={
            HTTPException: explorer.failure,
            LatentlakeError: explorer.failure,
            duckdb.Error: explorer.failure,
            Exception: explorer.fault,
        },
    )


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises HTTPException if it is larger than 8 kB."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_FORM_BYTES:
            raise HTTPException(413, "the form is too large")
    return dict(parse_qsl(body.decode("utf-8", "replace")))


def _name_of(text: str) -> str:
    """A reader's name: on one line and short."""
    return " ".join(text.split())[:MOST_NAME_CHARACTERS]


_MOST_FORM_BYTES = 8192


def _comes_from_elsewhere(request: Request) -> bool:
    """Whether the browser reports that another site led to a request."""
    return request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}


class _SafeHeaders:
    """Adds `_HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond as the application does, with these headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _icon(_request: Request) -> Response:
    return FileResponse(FOLDER / "icon.svg", headers={"cache-control": "max-age=86400"})


def _style(_request: Request) -> Response:
    return FileResponse(STYLE, headers={"cache-control": "max-age=86400"})
