"""The explorer's web application: its addresses, the pages that show the lake, and those of errors."""

from collections.abc import Callable

import duckdb
from starlette.applications import Starlette
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from pipeline.config import Config
from pipeline.errors import LatentlakeError
from pipeline.explore import texts
from pipeline.explore.catalog import Catalog
from pipeline.explore.feature import feature_page, requests_page
from pipeline.explore.meaning import Embed, Found, Meanings
from pipeline.explore.pages import FOLDER, STYLE, Pages
from pipeline.explore.rating import Rating
from pipeline.explore.run import run_page
from pipeline.explore.safety import HEADERS, HOSTS, SafeHeaders, comes_from_elsewhere
from pipeline.explore.search import Search, features_page, page_number
from pipeline.explore.statement import MOST_CHARACTERS, SECONDS, answer, examples, features_of
from pipeline.explore.texts import Texts
from pipeline.tables import TABLES

_DIGITS = 9
"""The largest number of digits of a number in an address."""


class _Explorer:
    """The pages of one experiment."""

    def __init__(self, config: Config, token: str, load: Callable[[Config], Embed] | None = None) -> None:
        self._config = config
        self._texts = Texts(config)
        self._catalog = Catalog(config)
        self._meanings = Meanings(self._catalog, load)
        self._pages = Pages(config.name)
        self._rating = Rating(self._catalog, self._pages, token)

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
            *self._rating.routes(),
        ]

    def features(self, request: Request) -> Response:
        """The list of features."""
        search = Search.of(request.query_params)
        with self._catalog.reading() as reader:
            if search.is_feature_number and (sae := search.sae or reader.only_sae()):
                return RedirectResponse(f"/features/{sae}/{int(search.words)}", 303)
            near, error = self._near(search, is_from_elsewhere=comes_from_elsewhere(request))
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
            found = feature_page(
                reader, self._catalog.vocabulary(), sae, feature, explanation_id, shows_all=shows_all
            )
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
        is_from_elsewhere = comes_from_elsewhere(request)
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
        is_from_elsewhere = bool(text) and comes_from_elsewhere(request)
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
        answer.headers.update(HEADERS)
        return answer


_TITLES = {404: "Not found", 403: "Not allowed", 400: "Not understood"}


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
            Middleware(SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False),
        ],
        exception_handlers={
            HTTPException: explorer.failure,
            LatentlakeError: explorer.failure,
            duckdb.Error: explorer.failure,
            Exception: explorer.fault,
        },
    )


def _icon(_request: Request) -> Response:
    return FileResponse(FOLDER / "icon.svg", headers={"cache-control": "max-age=86400"})


def _style(_request: Request) -> Response:
    return FileResponse(STYLE, headers={"cache-control": "max-age=86400"})
