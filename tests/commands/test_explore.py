"""The command that serves the explorer, where it cannot."""

import socket

import pytest
from tiny import write_experiment

from pipeline.commands.explore import check_port, serve_explorer
from pipeline.errors import LatentlakeError


def test_a_port_that_is_taken_is_said_before_an_address_is_given_out(tmp_path, tiny_subject, capsys):
    path = write_experiment(tmp_path, subject={"model": str(tiny_subject)})
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(LatentlakeError, match="such as another explorer"):
            serve_explorer(str(path), other.getsockname()[1])
        with pytest.raises(LatentlakeError, match=r"make dev PORT="):
            check_port(other.getsockname()[1], "dev")
    with pytest.raises(LatentlakeError, match="port 99999 does not exist"):
        check_port(99999, "dev")
    assert capsys.readouterr().out == ""
