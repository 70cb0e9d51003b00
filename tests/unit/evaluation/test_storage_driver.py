"""Strangers' images are pulled only where it is seen how large they become."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from evaluation.runners.docker.runner import DockerRunner
from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause
from ledger.contest_policy import ServerLimits


def test_an_engine_whose_images_cannot_be_measured_pulls_none_of_a_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = DockerRunner(model_dir=tmp_path, worker="w", registries=[], alone=False)
    client = SimpleNamespace(info=lambda: {"Driver": "overlayfs"})
    monkeypatch.setattr(
        "evaluation.runners.docker.connection.Connection.client", property(lambda _: client)
    )
    with (
        pytest.raises(InfrastructureFaultError, match="set its storage-driver") as raised,
        runner.stage("contest", ServerLimits()),
    ):
        pass
    assert raised.value.cause is InfrastructureCause.HOST_FAILED
