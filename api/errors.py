"""What went wrong, for people and for programs: one sentence, an exit code, an HTTP status.

The one mapping that the command line and the HTTP API share. Classes are named by their path
instead of being imported, so that reporting a mistyped block does not load a web server or a chain
library; a test holds every path to a class that exists.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

MAX_SENTENCE_CHARS: Final = 1_000

_DATABASE: Final = "database_unreachable"
"""The code of a database that failed in use, unless its cause has one of its own."""


class ExitCode(IntEnum):
    """What the command ends with. 2 is a usage error, as every command line has it."""

    DONE = 0
    USAGE = 2
    UNKNOWN_ARENA = 3
    BLOCK_OUT_OF_RANGE = 4
    MALFORMED_KEY = 5
    IMPOSSIBLE_POLICY = 6
    UNREADABLE_FILE = 7
    REFUSED = 8
    DATABASE_UNUSABLE = 9
    DATABASE_FAILED = 10
    PORT_IN_USE = 11
    CHAIN_UNAVAILABLE = 12
    UNKNOWN_ACCOUNT = 13
    FACT_CONFLICT = 14
    CONTENTION = 15
    WRONG_SETTING = 16
    VIEW_BEHIND = 17
    UNREADABLE_LOG = 18
    CHAIN_REFUSED = 19
    CANNOT_LISTEN = 20
    LEDGER_UNAVAILABLE = 21
    WALLET_UNUSABLE = 22
    CONTRACT_BROKEN = 23
    CONTEST_VOID = 24
    VERDICT_DIFFERS = 25
    PROVIDER_UNAVAILABLE = 26
    NO_MACHINE = 27
    UNEXPLAINED = 28
    NOT_INSTALLED = 29
    DEFECT = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class InputFileError(Exception):
    """A file named by the user that cannot be read as text; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure as it is told: ``code`` is a stable word, ``message`` one sentence."""

    message: str
    code: str
    exit_code: ExitCode
    http_status: int

    @property
    def is_defect(self) -> bool:
        """Whether nobody but the program is at fault."""
        return self.exit_code is ExitCode.DEFECT


@dataclass(frozen=True, slots=True)
class _Kind:
    code: str
    exit_code: ExitCode
    http_status: int
    sentence: Callable[[BaseException], str | None] = str
    """Gives None for an error of the class that nobody outside can have caused: a defect."""


def problem_of(error: BaseException) -> Problem:
    """How to tell ``error``; an exception nobody expected is told as a defect."""
    for cls in type(error).__mro__:
        kind = _KINDS.get(f"{cls.__module__}.{cls.__qualname__}")
        if kind is None:
            continue
        sentence = kind.sentence(error)
        if sentence is None:
            break
        code, status = kind.code, kind.http_status
        cause = _cause_of(error) if code == _DATABASE else None
        if cause is not None:
            code, status = cause.code or code, cause.http_status or status
        return Problem(one_line(sentence), code, kind.exit_code, status)
    return Problem(
        one_line(f"an unexpected {type(error).__name__} happened: {error}"),
        "internal_error",
        ExitCode.DEFECT,
        500,
    )


def read_text_file(path: Path, *, max_bytes: int) -> str:
    """The text of a file the user named; raises :class:`InputFileError` with what is wrong.

    At most one byte more than ``max_bytes`` is read, so that the caller's own limit can tell.
    """
    try:
        with path.open("rb") as file:
            return file.read(max_bytes + 1).decode("utf-8")
    except FileNotFoundError as error:
        msg = f"there is no file '{path}'; check the path"
        raise InputFileError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"the file '{path}' is not UTF-8 text (byte {error.start} is not); name a text file"
        raise InputFileError(msg) from error
    except OSError as error:
        msg = f"the file '{path}' cannot be read: {error.strerror}; name a file you may read"
        raise InputFileError(msg) from error


# -- sentences ------------------------------------------------------------------------------

# Up to the last @: an unescaped one inside the password must not end it.
_PASSWORD_IN_URL = re.compile(r"(://[^\s:]*):\S*@")
_PASSWORD_IN_DSN = re.compile(r"(password\s*=\s*)('[^']*'|\S+)", re.IGNORECASE)

_NODE_KEY = re.compile(r"(wss?://[^\s/?#'\"]+)[/?#][^\s'\"]+")


@dataclass(frozen=True, slots=True)
class _Cause:
    """One cause of a driver's error: by the driver's codes, or where it gave none by its words."""

    sentence: str
    codes: tuple[str, ...] = ()
    """The beginnings of PostgreSQL's SQLSTATE, and of SQLite's names of errors."""
    words: tuple[str, ...] = ()
    code: str | None = None
    http_status: int | None = None
    """In place of the error's own, where a program may want to tell this cause from others."""


_CAUSES: Final = (
    _Cause(
        "a table of the database, or a column of one, is missing; see 'cacheon-ledger db check', "
        "and make the views anew with 'cacheon-ledger db rebuild'",
        codes=("42P01", "42703"),
        words=("no such table", "no such column", 'relation "', 'column "'),
    ),
    _Cause(
        "another program holds the database's lock; wait for it or stop it, then run this again",
        codes=("55P03", "40P01", "SQLITE_BUSY", "SQLITE_LOCKED"),
        words=("database is locked", "table is locked", "lock timeout", "deadlock detected"),
        code="database_locked",
    ),
    _Cause(
        "the disk of the database is full; free space, then run this again: what is recorded "
        "already will not be recorded twice",
        codes=("53100", "SQLITE_FULL"),
        words=("disk is full", "no space left", "could not extend file"),
        code="database_full",
        http_status=507,
    ),
    _Cause(
        "the disk of the database cannot be read or written; look whether it is full or broken, "
        "then run this again",
        codes=("58030", "SQLITE_IOERR"),
        words=("disk i/o error",),
    ),
    _Cause(
        "the database is read-only; give this user the right to write to it",
        codes=("25006", "SQLITE_READONLY"),
        words=("readonly database", "read-only"),
    ),
    _Cause(
        "the database file cannot be opened; check that its folder exists and may be written to",
        codes=("SQLITE_CANTOPEN",),
        words=("unable to open database file",),
    ),
    _Cause(
        "the file is no SQLite database or is damaged; name another one, or restore a backup",
        codes=("SQLITE_NOTADB", "SQLITE_CORRUPT"),
        words=("not a database", "malformed"),
    ),
    _Cause(
        "the database's role may not do this; connect as the role that owns the tables, or let "
        "that one grant the rights with 'cacheon-ledger db grant'",
        codes=("42501",),
        words=("permission denied for", "must be owner of"),
    ),
    _Cause(
        "the database server refuses the login or has no such database or role; check "
        "LEDGER_DATABASE_URL",
        codes=("28", "3D000"),
        words=("authentication failed", "no password supplied", "does not exist"),
    ),
    _Cause(
        "the database server takes no more connections; wait, or stop another program that uses it",
        codes=("53300",),
        words=("too many clients", "connection slots are reserved"),
    ),
    _Cause(
        "the database server does not answer; check that it runs and that LEDGER_DATABASE_URL "
        "names it",
        codes=("08", "57P01", "57P02", "57P03"),
        words=(
            "connection refused",
            "could not translate host name",
            "name or service not known",
            "failed to resolve host",
            "timeout expired",
            "connection timeout",
            "server closed the connection",
            "connection is lost",
            "the connection is closed",
            "terminating connection",
            "the database system is",  # starting up, shutting down, in recovery mode
            "no such file or directory",
            "no route to host",
            "network is unreachable",
        ),
    ),
)


def _cause(error: BaseException) -> str | None:
    """Cause and remedy of a database driver's error; None if it is unknown."""
    cause = _cause_of(error)
    return cause.sentence if cause else None


def _cause_of(error: BaseException) -> _Cause | None:
    orig = getattr(error, "orig", None) or error
    code = getattr(orig, "sqlstate", None) or getattr(orig, "sqlite_errorname", None)
    words = str(orig).lower()
    for cause in _CAUSES:
        if code and code.startswith(cause.codes):
            return cause
    for cause in _CAUSES:
        if any(mark in words for mark in cause.words):
            return cause
    return None


def _driver_failed(error: BaseException) -> str:
    orig = getattr(error, "orig", None) or error
    return _cause(error) or f"the database failed: {orig}; see its own log, then run this again"


def _driver_failed_by_known_cause(error: BaseException) -> str | None:
    return _cause(error)


def _unusable(error: BaseException) -> str:
    """The ledger's own sentence; where a driver's error is behind it, with what to do."""
    remedy = _cause(error.__cause__) if error.__cause__ is not None else None
    return f"{error} ({remedy})" if remedy else str(error)


def _wrong_setting(error: BaseException) -> str:
    faults: list[dict[str, Any]] = getattr(error, "errors", list)()
    told = [
        f"LEDGER_{'_'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
        for fault in faults
    ]
    return f"a setting is wrong: {'; '.join(told) or error}"


def _unusable_file(error: BaseException) -> str | None:
    """A file or folder that the system does not let us use; None where no path is named.

    A write to an open file names no path; that the disk is full is no defect all the same.
    """
    if not isinstance(error, OSError):
        return None
    if error.filename is None:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return "a disk is full; free space, then run this again" if full else None
    return f"'{error.filename}' cannot be used: {error.strerror}; name another place, or make room"


def _unknown_book(error: BaseException) -> str:
    return f"{error}; 'cacheon-ledger treasury --accounts' lists what has postings"


def _unknown_cost(error: BaseException) -> str:
    what: str = getattr(error, "what", "contest")
    return f"{error}; see 'cacheon-ledger {what}s'"


_OWN: Final = frozenset({"ledger", "chain", "evaluation", "api", "migrations"})


def _not_installed(error: BaseException) -> str | None:
    """A library that is not here; None where a module of our own is missing."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if not name or name in _OWN:
        return None
    return (
        f"this needs the library '{name}', which is not installed here; what is installed runs "
        "contests, and the whole program is cacheon-ledger[containers,ledger]"
    )


def without_secrets(text: str) -> str:
    """``text`` without passwords, and without what follows a node's host, which may be its key."""
    text = _PASSWORD_IN_URL.sub(r"\1:***@", text)
    text = _PASSWORD_IN_DSN.sub(r"\1***", text)
    return _NODE_KEY.sub(r"\1/***", text)


def one_line(text: str) -> str:
    """``text`` as one line of bounded length, without secrets."""
    text = without_secrets(" ".join(text.split()))
    if len(text) > MAX_SENTENCE_CHARS:
        return text[: MAX_SENTENCE_CHARS - 1] + "…"
    return text


# -- the mapping ----------------------------------------------------------------------------

_KINDS: Final[dict[str, _Kind]] = {
    "ledger.application.UnknownArenaError": _Kind("unknown_arena", ExitCode.UNKNOWN_ARENA, 404),
    "ledger.queries.scope.BlockOutOfRangeError": _Kind(
        "block_out_of_range", ExitCode.BLOCK_OUT_OF_RANGE, 404
    ),
    "ledger.queries.scope.ViewBehindError": _Kind("view_behind", ExitCode.VIEW_BEHIND, 503),
    "ledger.queries.payouts.UnknownAccountError": _Kind(
        "unknown_address", ExitCode.UNKNOWN_ACCOUNT, 404
    ),
    "ledger.queries.costs.UnknownCostError": _Kind(
        "unknown_contest", ExitCode.UNKNOWN_ACCOUNT, 404, _unknown_cost
    ),
    "ledger.queries.book_names.UnknownBookError": _Kind(
        "unknown_account", ExitCode.UNKNOWN_ACCOUNT, 404, _unknown_book
    ),
    "ledger.keys.KeyFormError": _Kind("malformed_key", ExitCode.MALFORMED_KEY, 422),
    "ledger.addresses.AddressFormError": _Kind("malformed_parameter", ExitCode.MALFORMED_KEY, 422),
    "ledger.policy.PolicyError": _Kind("impossible_policy", ExitCode.IMPOSSIBLE_POLICY, 422),
    "ledger.decisions.base.DecisionRefusedError": _Kind("refused", ExitCode.REFUSED, 409),
    "ledger.units.AmountFormError": _Kind("malformed_amount", ExitCode.USAGE, 422),
    "api.cli.policies.LedgerApiError": _Kind(
        "ledger_unavailable", ExitCode.LEDGER_UNAVAILABLE, 502
    ),
    "chain.commit_checks.NotPayableError": _Kind("refused", ExitCode.REFUSED, 409),
    "chain.commit.CommitRefusedError": _Kind("refused", ExitCode.REFUSED, 409),
    "chain.buyback.HeldBackError": _Kind("held_back", ExitCode.REFUSED, 409),
    "ledger.store.conflicts.FactConflictError": _Kind("fact_conflict", ExitCode.FACT_CONFLICT, 409),
    "ledger.store.conflicts.BlockOrderError": _Kind("block_order", ExitCode.FACT_CONFLICT, 409),
    "ledger.application.ContentionError": _Kind("contention", ExitCode.CONTENTION, 503),
    "ledger.store.writer.WriterBusyError": _Kind("contention", ExitCode.CONTENTION, 503),
    "ledger.store.codec.FactCodecError": _Kind("unreadable_log", ExitCode.UNREADABLE_LOG, 500),
    "ledger.store.database.DatabaseError": _Kind(
        "database_unusable", ExitCode.DATABASE_UNUSABLE, 503, _unusable
    ),
    "sqlalchemy.exc.OperationalError": _Kind(
        _DATABASE, ExitCode.DATABASE_FAILED, 503, _driver_failed
    ),
    "sqlalchemy.exc.TimeoutError": _Kind(_DATABASE, ExitCode.DATABASE_FAILED, 503, _driver_failed),
    "sqlalchemy.exc.DatabaseError": _Kind(
        _DATABASE, ExitCode.DATABASE_FAILED, 503, _driver_failed_by_known_cause
    ),
    # The driver's own connection was closed under it: some drivers call that no database error.
    "sqlalchemy.exc.InterfaceError": _Kind(
        _DATABASE, ExitCode.DATABASE_FAILED, 503, _driver_failed_by_known_cause
    ),
    # The simulated chain keeps its world in a SQLite file of its own.
    "sqlite3.OperationalError": _Kind(
        _DATABASE, ExitCode.DATABASE_FAILED, 503, _driver_failed_by_known_cause
    ),
    "chain.node_url.NodeUrlError": _Kind("wrong_setting", ExitCode.WRONG_SETTING, 500),
    "chain.port.ChainUnavailableError": _Kind("chain_unavailable", ExitCode.CHAIN_UNAVAILABLE, 503),
    "chain.wallets.WalletError": _Kind("wallet_unusable", ExitCode.WALLET_UNUSABLE, 500),
    "chain.port.ChainError": _Kind("chain_refused", ExitCode.CHAIN_REFUSED, 502),
    "api.http.server.PortInUseError": _Kind("port_in_use", ExitCode.PORT_IN_USE, 500),
    "api.http.server.CannotListenError": _Kind("cannot_listen", ExitCode.CANNOT_LISTEN, 500),
    "api.errors.InputFileError": _Kind("unreadable_file", ExitCode.UNREADABLE_FILE, 422),
    "pydantic_core._pydantic_core.ValidationError": _Kind(
        "wrong_setting", ExitCode.WRONG_SETTING, 500, _wrong_setting
    ),
    "evaluation.runners.port.InfrastructureFaultError": _Kind(
        "machine_failed", ExitCode.CONTEST_VOID, 503
    ),
    "evaluation.pods.faults.HostError": _Kind("machine_failed", ExitCode.CONTEST_VOID, 503),
    "evaluation.pods.faults.KeyFileError": _Kind("unreadable_file", ExitCode.UNREADABLE_FILE, 422),
    "evaluation.pods.address.AddressFormError": _Kind("malformed_parameter", ExitCode.USAGE, 422),
    "evaluation.evidence.EvidenceError": _Kind("evidence_unusable", ExitCode.UNREADABLE_FILE, 422),
    "evaluation.bundle.BundleError": _Kind("bundle_refused", ExitCode.UNREADABLE_FILE, 422),
    "evaluation.slots.SlotError": _Kind("worker_taken", ExitCode.REFUSED, 409),
    "evaluation.pods.port.ProviderError": _Kind(
        "provider_unavailable", ExitCode.PROVIDER_UNAVAILABLE, 502
    ),
    "evaluation.pods.desk.NoMachineError": _Kind("no_machine", ExitCode.NO_MACHINE, 503),
    "evaluation.pods.invoices.InvoiceFileError": _Kind(
        "unreadable_invoice", ExitCode.UNREADABLE_FILE, 422
    ),
    "api.providers.NoProviderError": _Kind("wrong_setting", ExitCode.WRONG_SETTING, 500),
    "api.demo.world.DemoError": _Kind("demo_stuck", ExitCode.REFUSED, 409),
    "evaluation.tokenizers.ModelFilesError": _Kind(
        "unreadable_model", ExitCode.UNREADABLE_FILE, 422
    ),
    "evaluation.plan.PlanError": _Kind("impossible_contest", ExitCode.IMPOSSIBLE_POLICY, 422),
    "evaluation.calibration.CalibrationError": _Kind("calibration", ExitCode.REFUSED, 409),
    "builtins.ModuleNotFoundError": _Kind(
        "not_installed", ExitCode.NOT_INSTALLED, 500, _not_installed
    ),
    "builtins.OSError": _Kind("unusable_file", ExitCode.UNREADABLE_FILE, 500, _unusable_file),
    "builtins.BrokenPipeError": _Kind("broken_pipe", ExitCode.BROKEN_PIPE, 499, lambda _: ""),
    "builtins.KeyboardInterrupt": _Kind(
        "interrupted", ExitCode.INTERRUPTED, 499, lambda _: "interrupted"
    ),
}
