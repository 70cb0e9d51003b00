"""What the contest's commands import is among the wheels, also where only some option needs it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.bare_environment import BareEnvironment, bare_environment
from wheels.pins import ROOT

AT_HOME = {"contest_records.py", "contest_remote.py"}
"""`contest plan`, `import` and the like, which need the ledger, and `contest remote`."""
IN_CONTAINERS = "evaluation.runners.docker.runner"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareEnvironment:
    return bare_environment(tmp_path_factory.mktemp("bare") / "environment")


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def test_run_check_and_calibrate_import_nothing_that_is_not_there(
    bare: BareEnvironment, tmp_path: Path
) -> None:
    faces = ROOT / "api" / "cli"
    files = [path for path in faces.glob("contest*.py") if path.name not in AT_HOME]
    modules = set().union(*map(imported, [*files, faces / "machines.py"]))
    assert {"evaluation.contest", "evaluation.calibration", IN_CONTAINERS} <= modules
    # What an option brings: chat templates and tokenizers of a model, evidence at a URL.
    modules |= {"jinja2", "tokenizers", "httpx", "evaluation.pods.keeper"}
    modules |= {"evaluation.reference.server", "evaluation.contract_answers"}
    lines = [f"import {name}" for name in sorted(modules - {IN_CONTAINERS})]
    done = bare.run("\n".join(lines), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = bare.run(f"import {IN_CONTAINERS}", cwd=tmp_path)
    assert "No module named 'docker'" in done.stderr


def test_a_contract_is_checked_and_containers_are_said_to_need_more(
    bare: BareEnvironment, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    save = "from pathlib import Path\nfrom evaluation.reference.model import init_weights\n"
    save += "from evaluation.reference.model_files import save_model\n"
    done = bare.run(f"{save}save_model(init_weights(14), Path({str(model)!r}))", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check = ("contest", "check", "--model", str(model))
    done = bare.command(*check, "profile:reference", "--runner", "process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "it keeps the contract" in done.stdout
    image = f"registry.example/engine@sha256:{'0' * 64}"
    done = bare.command(*check, image, cwd=tmp_path)
    assert done.returncode == 29
    assert "the library 'docker'" in done.stderr
