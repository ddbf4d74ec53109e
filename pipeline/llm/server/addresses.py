"""Where an endpoint is, and the key and headers that requests to it carry."""

import os
import re
import urllib.parse
from collections.abc import Mapping

import openai

from pipeline.config import EndpointConfig
from pipeline.errors import ConfigError

OPENAI_URL = "https://api.openai.com/v1"


def address_of(config: EndpointConfig) -> tuple[str, dict[str, str]]:
    """The address without its query, to which paths are appended, and the query.

    Raises ConfigError if it is not an address, or contains a password, which error messages would repeat.
    """
    base_url = config.base_url or OPENAI_URL
    shown = re.sub("//[^/]*@", "//***@", base_url)
    try:
        parts = urllib.parse.urlsplit(base_url.strip())
        host, port = parts.hostname, parts.port  # the port raises ValueError above 65535
    except ValueError as error:
        raise ConfigError(f"base_url '{shown}' is not an address ({error})") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"base_url has a user name or password before '@{host}'; take it out, and put the key into the "
            "environment variable that api_key_env names"
        )
    if parts.scheme not in {"http", "https"} or not host or port == 0 or any(map(str.isspace, base_url.strip())):
        raise ConfigError(
            f"base_url '{shown}' is not an address; it must be http:// or https:// and a host, without spaces"
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/embeddings").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}", dict(urllib.parse.parse_qsl(parts.query))


def key_of(config: EndpointConfig, url: str) -> str | None:
    """The key for an address, or None. Raises ConfigError if the environment variable holds none."""
    if not config.api_key_env:
        return None
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"environment variable '{config.api_key_env}' is not set; it must hold the API key for {url}"
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"environment variable '{config.api_key_env}' does not hold an API key: it contains a line "
            "break or characters that are not ASCII"
        )
    return key


def headers_of(key: str | None, key_header: str | None) -> Mapping[str, str | openai.Omit]:
    """The headers of every request, without those that the package would take from OpenAI's variables."""
    headers: dict[str, str | openai.Omit] = {
        "Authorization": openai.Omit(),
        "Content-Type": "application/json",
        "User-Agent": "latentlake",
        "OpenAI-Organization": openai.Omit(),
        "OpenAI-Project": openai.Omit(),
    }
    if key:
        headers[key_header or "Authorization"] = key if key_header else f"Bearer {key}"
    return headers
