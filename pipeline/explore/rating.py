"""The pages on which readers rate explanations, and who may rate: whoever has the token of `make explore`."""

from hmac import compare_digest
from urllib.parse import parse_qsl, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipeline.explore.catalog import Catalog
from pipeline.explore.pages import Pages
from pipeline.explore.readers import MOST_CHARACTERS, VERDICTS, keep_rating, next_page, readers_page
from pipeline.explore.safety import comes_from_elsewhere

_MOST_FORM_BYTES = 8192


class Rating:
    """The readers' pages of one experiment.

    Args:
        catalog: The experiment's tables.
        pages: Its templates.
        token: Readers who have it may rate explanations.
    """

    def __init__(self, catalog: Catalog, pages: Pages, token: str) -> None:
        self._catalog = catalog
        self._pages = pages
        self._token = token

    def routes(self) -> list[Route]:
        """Every address and its handler."""
        return [
            Route("/readers", self.readers),
            Route("/readers/next", self.next_to_rate),
            Route("/readers/next", self.rate, methods=["POST"]),
        ]

    def readers(self, request: Request) -> Response:
        """The ratings, and where to begin; the token that `make explore` printed allows rating."""
        if (token := request.query_params.get("token")) is not None:
            if not compare_digest(token.strip().encode(), self._token.encode()):
                raise HTTPException(403, "that is not the token that 'make explore' printed when it started")
            answer = RedirectResponse("/readers", 303)
            answer.set_cookie(_cookie(request), self._token, path="/readers", httponly=True, samesite="strict")
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
        if request.headers.get("origin") != own or comes_from_elsewhere(request):
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
        seal = None if self._catalog.objects is None else self._catalog.objects.journals.seal
        keep_rating(self._catalog.folder, **shown, rater=rater, verdict=verdict, seal=seal)

    def _may_rate(self, request: Request) -> bool:
        return compare_digest(request.cookies.get(_cookie(request), "").encode(), self._token.encode())


def _cookie(request: Request) -> str:
    """The cookie's name, with the port: browsers share cookies between all ports of a host."""
    return f"latentlake_token_{request.url.port or 80}"


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
    return " ".join(text.split())[:MOST_CHARACTERS]
