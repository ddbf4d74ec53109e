"""`make explore`: a lake's features in a browser, on http://localhost:3001."""

import logging
import secrets
import socket

from pipeline.config import load_config
from pipeline.errors import LatentlakeError


def serve_explorer(path: str, port: int) -> None:
    """Serve the experiment of the config at `path` until Ctrl-C. Raises LatentlakeError without the `ui` extra."""
    config = load_config(path)
    check_port(port, "explore")
    try:
        import uvicorn

        from pipeline.explore.app import create_app
    except ModuleNotFoundError as error:
        hint = "install latentlake with its extra 'ui'"
        raise LatentlakeError(f"the explorer needs '{error.name}'; {hint}") from None
    token = secrets.token_urlsafe(16)
    address = f"http://localhost:{port}"
    print(f"{config.name}: {address} (Ctrl-C stops it)")
    print(f"to rate explanations: {address}/readers?token={token}", flush=True)
    app = create_app(config, token)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, server_header=False)


def check_port(port: int, command: str) -> None:
    """Raise LatentlakeError if the port is taken or not a port, before its address is printed."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OverflowError:
            raise LatentlakeError(f"port {port} does not exist; ports are 0 to 65535") from None
        except OSError as error:
            raise LatentlakeError(
                f"port {port} is not available ({error.strerror}); stop what listens there, such as another "
                f"explorer, or choose another port: make {command} PORT=3002 (--port 3002)"
            ) from None
