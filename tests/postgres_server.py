"""A Postgres server for one test, reached by a socket in its own folder."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("initdb", "pg_ctl", "postgres")
IS_HERE = all(map(shutil.which, PROGRAMS))


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a fresh database. Postgres does not run as root: then the account `postgres` runs it."""
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path has at most 107 bytes
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **who)

    run("initdb", "--no-sync", "--auth=trust", "--username=latentlake", "--pgdata", str(data))
    options = f"-c listen_addresses= -c fsync=off -k {folder}"
    run(
        "pg_ctl",
        "--wait",
        "--timeout=600",
        "--pgdata",
        str(data),
        "--log",
        str(folder / "log"),
        "--options",
        options,
        "start",
    )
    try:
        yield f"postgresql+psycopg2://latentlake@/postgres?host={folder}"
    finally:
        run("pg_ctl", "--wait", "--pgdata", str(data), "--mode=immediate", "stop")
        shutil.rmtree(folder)
