"""Errors of any command, told once: a sentence on stderr and a documented exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from api.cli.cells import printable
from api.errors import ExitCode, problem_of, without_secrets


class ReportingGroup(TyperGroup):
    """The root command: whatever a command raises is told through :mod:`api.errors`.

    A defect says so and how to see its traceback; ``--debug`` shows the traceback of any error.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command; ends with :class:`typer.Exit` for every error but a usage error."""
        try:
            result = super().invoke(ctx)
            # A reader that went away is noticed here, and not while the interpreter shuts down.
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, TyperException):
            raise
        except BrokenPipeError as error:
            _abandon_stdout()
            raise typer.Exit(int(problem_of(error).exit_code)) from error
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(int(_tell(error, debug=bool(ctx.params.get("debug"))))) from error
        return result


def _tell(error: BaseException, *, debug: bool) -> ExitCode:
    problem = problem_of(error)
    if debug:
        # Libraries quote the URLs they were given; a key in one must not reach a log from here.
        sys.stderr.write(without_secrets("".join(traceback.format_exception(error))))
    sentence = problem.message
    if problem.is_defect and not debug:
        sentence += "; this is a defect; run with --debug for the traceback"
        sentence += " (cacheon-ledger --debug ...)"
    sys.stderr.write(f"cacheon-ledger: {printable(sentence)}\n")
    return problem.exit_code


def _abandon_stdout() -> None:
    """Send what is still buffered nowhere, or flushing it at exit would fail once more."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # not a file of the system (a test's buffer): nothing is flushed to a pipe
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
