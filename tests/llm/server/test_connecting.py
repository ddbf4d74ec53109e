"""How a server is reached: certificates that are trusted or not, and proxies of the environment."""

import base64
import socket
import socketserver
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress

import pytest

from llm import answers_of, client_of
from llm.oracle import Oracle, Reply
from pipeline.errors import ConfigError
from pipeline.llm import Message, Request
from pipeline.llm.server import pacing

KEY = "sk-secret-0123456789"
OF_THE_PACKAGE = ("ignore:BasicAuth is deprecated", "ignore:The 'proxy_auth' parameter is deprecated")
"""Warnings about how the openai package hands a proxy's password to aiohttp."""
QUESTION = Request("detection", "sae", 3, "model", (Message("user", "question"),), max_tokens=5)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No proxies and no certificates but those that a test names; short waits."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(pacing, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A file with a certificate for 127.0.0.1 that signs itself, and its key."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    name = ["-subj", "/CN=a test's server", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
    subprocess.run([*command, "-keyout", path, "-out", f"{path}.public"], check=True, capture_output=True)
    with path.open("ab") as file:
        file.write(path.with_name("certificate.pem.public").read_bytes())
    return path


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def ask(url, **settings):
    [only] = answers_of(client_of(url, None, **settings), [QUESTION])
    return only


# Certificates ------------------------------------------------------------------------------------------


def test_a_server_whose_certificate_is_trusted_is_asked(tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Oracle(tls=tls) as oracle:
        assert oracle.base_url.startswith("https://")
        assert ask(oracle.base_url).status == "ok"


def test_the_models_that_such_a_server_has_are_listed(tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Oracle(tls=tls, models=("another",)) as oracle, pytest.raises(ConfigError, match="nearest: 'another'"):
        ask(oracle.base_url)


def test_a_certificate_that_is_not_trusted_stops_the_run_at_once_and_says_what_to_do(tls, monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    with Oracle(tls=tls) as oracle:
        with pytest.raises(ConfigError, match=r"self.signed certificate.*SSL_CERT_FILE") as raised:
            answers_of(client_of(oracle.base_url, "SOME_KEY"), [QUESTION])
        assert oracle.keys == []  # nobody has seen the key
    assert "times in a row" not in str(raised.value)


def test_a_certificate_of_another_name_is_refused(tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Oracle(tls=tls) as oracle, pytest.raises(ConfigError, match="certificate is not valid for 'localhost'"):
        ask(oracle.base_url.replace("127.0.0.1", "localhost"))


def test_https_to_a_server_that_speaks_http_says_so():
    with Oracle() as oracle, pytest.raises(ConfigError, match=r"no TLS: .* begin with http://"):
        ask(oracle.base_url.replace("http:", "https:"), max_attempts=2)


# Addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind, path", [
    ("/v1", "/v1/chat/completions"),
    ("/v1/", "/v1/chat/completions"),
    ("/v1/chat/completions", "/v1/chat/completions"),
    ("/v1/chat/completions/", "/v1/chat/completions"),
    ("", "/chat/completions"),
    ("/openai/deployments/a?api-version=2024-10", "/openai/deployments/a/chat/completions?api-version=2024-10"),
    ("/x/chat/completions?api-version=1&b=c", "/x/chat/completions?api-version=1&b=c"),
])  # fmt: skip
def test_an_address_may_be_the_whole_path_and_have_a_query(behind, path):
    with Oracle() as oracle:
        assert ask(oracle.base_url.removesuffix("/v1") + behind).status == "ok"
        assert set(oracle.paths) == {path}


def test_a_key_may_go_in_a_header_of_its_own_and_goes_in_no_other(monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    with Oracle() as oracle:
        client = client_of(f"{oracle.base_url}?api-version=1", "SOME_KEY", api_key_header="api-key")
        [given] = answers_of(client, [QUESTION])
        heads = [{name for name, value in head.items() if KEY in value} for head in oracle.heads]
    assert given.status == "ok"
    assert heads == [{"api-key"}] * 2  # the probe's and the request's
    assert not any("authorization" in head for head in oracle.heads)


def test_a_query_is_not_told_in_messages():
    with Oracle(models=("another",)) as oracle, pytest.raises(ConfigError) as raised:
        ask(f"{oracle.base_url}?key=hidden")
    assert oracle.base_url in str(raised.value) and "hidden" not in str(raised.value)


@pytest.mark.parametrize("url", [
    "api.openai.com/v1", "localhost:8000/v1", "https://", "ftp://x/v1", "http://:8000/v1", "http://x:99999/v1",
    "http://x:port/v1", "http://[::1/v1", "http://a b/v1",
])  # fmt: skip
def test_what_is_no_address_is_refused_at_once(url):
    with pytest.raises(ConfigError, match="is not an address"):
        client_of(url, None)


@pytest.mark.parametrize("url", ["http://bob:hunter2@127.0.0.1:9/v1", "https://hunter2@host/v1"])
def test_a_password_in_an_address_is_refused_and_not_told(url):
    with pytest.raises(ConfigError, match=r"user name or password.*api_key_env") as raised:
        client_of(url, None)
    with pytest.raises(ConfigError, match="is not an address") as malformed:
        client_of(url.replace("@", "@["), None)
    assert "hunter2" not in f"{raised.value} {malformed.value}"


def test_white_space_round_an_address_is_taken_off():
    assert client_of(" http://[::1]:8000/v1/ ", None).endpoint.url == "http://[::1]:8000/v1"


# Redirects ---------------------------------------------------------------------------------------------


def test_a_redirect_is_not_followed_and_the_key_stays_with_the_server(monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    with Oracle() as elsewhere:
        moved = Reply(fault="status", status=307, location=f"{elsewhere.base_url}/chat/completions")
        with Oracle(lambda body: moved) as oracle:
            client = client_of(oracle.base_url, "SOME_KEY")
            with pytest.raises(ConfigError, match=rf"it redirects to {elsewhere.base_url}/.*; set base_url"):
                answers_of(client, [QUESTION])
        assert elsewhere.heads == []


# Proxies -----------------------------------------------------------------------------------------------


class Proxy(socketserver.BaseRequestHandler):
    """One connection of a client: CONNECT opens a tunnel, whatever host is named, to the server's port."""

    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head and (data := self.request.recv(65536)):
            head += data
        self.server.heads.append(head.decode())
        if self.server.status != 200:
            self.request.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % self.server.status)
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)) as server:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pass_on, args=(server, self.request))
            back.start()
            pass_on(self.request, server)
            back.join()


def pass_on(source, target):
    """Pass bytes on until one side ends."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def running_proxy(status=200):
    """A proxy that answers CONNECT with a status; its `heads` are what it was asked."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        server.heads, server.status = [], status
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def address(proxy):
    return f"127.0.0.1:{proxy.server_address[1]}"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_https_goes_through_a_tunnel_of_the_proxy_and_the_proxy_sees_no_key(
    tls, certificate, monkeypatch, variable
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SOME_KEY", KEY)
    with Oracle(tls=tls, key=KEY) as oracle, running_proxy() as proxy:
        monkeypatch.setenv(variable, f"http://{address(proxy)}")
        [given] = answers_of(client_of(oracle.base_url, "SOME_KEY"), [QUESTION])
        host = oracle.base_url.removeprefix("https://").removesuffix("/v1")
        assert given.status == "ok"
        assert proxy.heads[0].startswith(f"CONNECT {host} HTTP/1.1\r\n")
        assert KEY not in "".join(proxy.heads)


@pytest.mark.filterwarnings(*OF_THE_PACKAGE)
def test_the_name_and_password_of_a_proxy_are_sent_to_it(tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Oracle(tls=tls) as oracle, running_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:secret@{address(proxy)}")
        assert ask(oracle.base_url).status == "ok"
        encoded = base64.b64encode(b"somebody:secret").decode()
        assert f"Proxy-Authorization: Basic {encoded}\r\n" in proxy.heads[0]


def test_a_server_behind_a_proxy_must_show_a_certificate_that_is_trusted(tls, monkeypatch):
    with Oracle(tls=tls) as oracle, running_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{address(proxy)}")
        with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
            ask(oracle.base_url)


@pytest.mark.parametrize("bypassed", ["127.0.0.1", "*", "10.0.0.1, 127.0.0.1", "127.0.0.1:{port}"])
def test_no_proxy_names_servers_that_are_asked_directly(tls, certificate, monkeypatch, bypassed):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Oracle(tls=tls) as oracle, running_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{address(proxy)}")
        monkeypatch.setenv("NO_PROXY", bypassed.format(port=oracle.base_url.split(":")[2].removesuffix("/v1")))
        assert ask(oracle.base_url).status == "ok"
        assert proxy.heads == []


@pytest.mark.filterwarnings(*OF_THE_PACKAGE)
def test_a_proxy_that_refuses_is_named_and_its_password_is_not(tls, monkeypatch):
    with Oracle(tls=tls) as oracle, running_proxy(status=407) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:secret@{address(proxy)}")
        with pytest.raises(ConfigError, match=f"the proxy {address(proxy)} of .*: HTTP 407") as raised:
            ask(oracle.base_url, max_attempts=2)
    assert "secret" not in str(raised.value)


def test_a_proxy_that_wants_a_password_is_not_taken_for_the_server(monkeypatch):
    with Oracle(lambda body: Reply(fault="status", status=407)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url.removesuffix("/v1"))
        proxy.probed = proxy.brain
        with pytest.raises(ConfigError, match=r"HTTP_PROXY.*: HTTP 407"):
            ask("http://server.invalid/v1", max_attempts=2)


def test_a_proxy_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"the proxy 127.0.0.1:9 of HTTP_PROXY.*failed"):
        ask("http://server.invalid/v1", max_attempts=2)


def test_a_proxy_of_another_kind_is_refused(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"HTTPS_PROXY.*socks5.*http://"):
        ask("https://server.invalid/v1")
