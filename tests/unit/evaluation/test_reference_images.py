"""A process image runs only if its content is what its digest says."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.reference.image import CONFIG_FILE, image_path, write_image
from evaluation.runners.port import InfrastructureFaultError
from evaluation.runners.reference import ReferenceImages
from ledger.codes import InfrastructureCause

CONFIG = {"engine": "kv_cache"}


def test_an_image_is_started_with_its_own_configuration(tmp_path: Path) -> None:
    digest = write_image(tmp_path, "mine", CONFIG)
    command = ReferenceImages(tmp_path, Path("/models")).command(digest)
    assert str(image_path(tmp_path, digest) / CONFIG_FILE) in command.argv
    assert "/models" in command.argv


def test_a_rebuilt_copy_has_the_same_fingerprint(tmp_path: Path) -> None:
    images = ReferenceImages(tmp_path, tmp_path)
    mine, copy = (write_image(tmp_path, label, CONFIG) for label in ("mine", "copy"))
    other = write_image(tmp_path, "mine", {"engine": "recompute"})
    assert mine != copy
    assert images.fingerprint(mine) == images.fingerprint(copy) != images.fingerprint(other)


def test_an_image_that_is_missing_or_changed_could_not_be_pulled(tmp_path: Path) -> None:
    images = ReferenceImages(tmp_path, tmp_path)
    digest = write_image(tmp_path, "mine", CONFIG)
    (image_path(tmp_path, digest) / CONFIG_FILE).write_text('{"engine": "recompute"}')
    for unusable in (digest, "sha256:" + "0" * 64, "latest"):
        for use in (images.command, images.fingerprint):
            with pytest.raises(InfrastructureFaultError) as caught:
                use(unusable)
            assert caught.value.cause is InfrastructureCause.PULL_FAILED
