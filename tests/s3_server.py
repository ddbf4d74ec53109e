"""An S3 server (SeaweedFS) with one bucket, on this machine."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.lake.store import open_filesystem

WEED = Path(sys.prefix) / "bin" / "weed"
IS_HERE = WEED.exists() and find_spec("s3fs") is not None


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """The environment that names a server with the bucket `bucket`, and its keys."""
    identity = {
        "name": "test",
        "credentials": [{"accessKey": "key", "secretKey": "secret"}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    first = 20_000 + os.getpid() % 1000 * 10
    s3, master, volume, filer = range(first, first + 4)  # and 10,000 above each
    own = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with tempfile.TemporaryDirectory(prefix="weed") as name:
        folder = Path(name)
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir()
        command = f"{WEED} server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir={folder}/data -s3 -s3.iam=false"
        command += f" -s3.port={s3} -s3.config={folder}/s3.json -master.port={master} -volume.port={volume}"
        command += f" -filer.port={filer} -volume.max=20 -master.volumeSizeLimitMB=64"
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command.split(), stdout=log, stderr=log)
        try:
            _make_bucket(own, process)
            yield own
        finally:
            process.kill()  # its own way to end takes half a minute
            process.wait()


def _make_bucket(own: dict[str, str], process: "subprocess.Popen[bytes]") -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        filesystem, _ = open_filesystem("s3://bucket")
        until = time.monotonic() + 600
        while True:
            try:
                filesystem.mkdir("bucket")
                return
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.3)
