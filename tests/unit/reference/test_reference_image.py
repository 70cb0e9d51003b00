"""A process image is named by all its files and recognised by those that matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.reference.config import KINDS, ConfigError, KvCached, RepeatPenalty, parse_config
from evaluation.reference.image import (
    ImageError,
    content_fingerprint,
    image_digest,
    image_path,
    reference_image_kinds,
    write_image,
)


def test_a_relabelled_copy_has_another_digest_and_the_same_fingerprint(tmp_path: Path) -> None:
    files = {"kernels/decode.cu": b"__global__"}
    original = write_image(tmp_path, "original", KvCached(), files)
    copy = write_image(tmp_path, "copy", KvCached(), files)
    other = write_image(tmp_path, "original", KvCached(), {"kernels/decode.cu": b"other"})
    assert len({original, copy, other}) == 3
    prints = [content_fingerprint(image_path(tmp_path, one)) for one in (original, copy, other)]
    assert prints[0] == prints[1] != prints[2]


def test_a_digest_is_recomputed_from_the_files(tmp_path: Path) -> None:
    digest = write_image(tmp_path, "one", KvCached(), {"notes.txt": b"hello"})
    directory = image_path(tmp_path, digest)
    assert image_digest(directory) == digest
    assert write_image(tmp_path, "one", KvCached(), {"notes.txt": b"hello"}) == digest
    (directory / "notes.txt").write_bytes(b"changed")
    assert image_digest(directory) != digest
    assert [path.name for path in tmp_path.iterdir()] == [directory.name]


@pytest.mark.parametrize("path", ["../outside", "/absolute", "server.json", "LABEL", "."])
def test_extra_files_stay_inside_and_leave_the_images_own_alone(tmp_path: Path, path: str) -> None:
    with pytest.raises(ImageError):
        write_image(tmp_path, "x", KvCached(), {path: b""})


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no server\.json"):
        content_fingerprint(tmp_path)
    with pytest.raises(ImageError, match="no image digest"):
        image_path(tmp_path, "sha256:../../etc")
    directory = image_path(tmp_path, write_image(tmp_path, "x", KvCached()))
    (directory / "link").symlink_to("/etc/hostname")
    with pytest.raises(ImageError, match="link 'link'"):
        content_fingerprint(directory)


def test_every_kind_writes_an_image_that_its_server_reads(tmp_path: Path) -> None:
    kinds = reference_image_kinds()
    assert list(kinds)[:3] == ["recompute", "kv_cache", "prefix_cache"]
    assert set(kinds) == set(KINDS)
    for kind in kinds.values():
        directory = image_path(tmp_path, write_image(tmp_path, kind.name, kind.config()))
        assert parse_config((directory / "server.json").read_bytes()) == kind.config()
        assert kind.promise
    assert kinds["repeat_penalty"].config(penalty_ppm=1_500_000) == RepeatPenalty(
        penalty_ppm=1_500_000
    )


@pytest.mark.parametrize(
    "text", [b"", b"{}", b'{"engine":"warp"}', b'{"engine":"kv_cache","speed":2}', b"\xff"]
)
def test_a_configuration_that_does_not_fit_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        parse_config(text)
