"""What the tests of the explorer share: a hostile corpus, and what a browser would send."""

from starlette.testclient import TestClient

from pipeline.config import Config
from pipeline.explore.app import create_app

TOKEN = "printed at start"
N_FEATURES = 24

HOSTILE = (
    " <script>alert(1)</script>",
    '"onmouseover="alert(1)',
    "\x1b[31mred",
    "\u202egnp.exe",
    "\u2066isolated",
    "\x00nul",
    "\r\n</td></table>",
    "&amp;",
    "\u200b",
    "\x85\u2028",
)
"""Tokens of a hostile corpus: markup, ANSI, bidi and control characters, line ends."""


def client(config: Config, **headers: str) -> TestClient:
    """A browser on this machine."""
    app = create_app(config, TOKEN)
    return TestClient(app, base_url="http://localhost:3001", headers=headers, follow_redirects=False)
