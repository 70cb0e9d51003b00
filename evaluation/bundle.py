"""A contest in one file: manifest, policy, all evidence, and a seal over them.

The file is a zip. Its comment is the SHA-256 of every byte before it, so that no damage passes
unseen. ``seal.json`` holds the SHA-256 of every other member and one digest over that list, which
is what a signature signs. The same contest gives the same bytes.

What a bundle says is not believed: every digest is checked and the contest is judged again from the
evidence; where anything comes out otherwise, the bundle is refused.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from evaluation.evidence import MAX_EVIDENCE_BYTES, Evidence, EvidenceError, digest_of, hex_of
from evaluation.manifest import (
    ContestEvidence,
    Rejudged,
    digests_of,
    read_manifest,
    rejudge_manifest,
)
from ledger.policy import ADDED_LATER
from ledger.spelling import spelled

SEAL_FORM: Final = "cacheon-contest-bundle/1"
MAX_BUNDLE_BYTES: Final = 2**30
MAX_UNPACKED_BYTES: Final = 4 * 2**30
MAX_MEMBERS: Final = 1_024
"""More than 256 entrants, the most a contest can have, and all besides."""
_MAX_SEAL_BYTES: Final = 2**20
_SEAL: Final = "seal.json"
_MANIFEST: Final = "manifest.json"
_POLICY: Final = "policy.json"
_EVIDENCE: Final = "evidence/"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest moment that a zip can say; a real one would make equal bundles differ."""
_PLAIN_FILE: Final = 0o100644 << 16
_COMMENT_BYTES: Final = len("sha256:") + 64

_NOT_A_ZIP: Final = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
    EOFError,
    OSError,
    struct.error,
    zlib.error,
)
"""What ``zipfile`` raises for damage, an unknown compression, a password, a header that lies."""


class BundleError(Exception):
    """A bundle that is damaged, incomplete or says what does not follow; one sentence."""


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who signed the seal's digest (its text, as ASCII), and the signature in hex."""

    signer: str
    scheme: str
    signature: str


class Seal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``members`` is ``(path, sha256 hex)`` of every other member, sorted; ``digest`` is
    ``sha256:<hex>`` over one ``<path>:<sha256 hex>`` line each."""

    form: str = SEAL_FORM
    members: tuple[tuple[str, str], ...]
    digest: str
    signature: Signature | None = None


Signer = Callable[[bytes], Signature]
"""Signs the seal's digest."""
Verifier = Callable[[bytes, Signature], bool]
"""Whether the signature is its signer's over these bytes."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was found whole and true; also an evidence store that only reads.

    ``manifest_bytes`` are those of ``manifest_digest``, whichever way they spell the manifest.
    """

    manifest: ContestEvidence
    manifest_bytes: bytes
    manifest_digest: str
    seal: Seal
    rejudged: Rejudged
    blobs: Mapping[str, bytes]

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``; raises :class:`EvidenceError` if the bundle has none."""
        return _Blobs(self.blobs).get(digest)


def write_bundle(
    path: Path, store: Evidence, manifest_digest: str, *, sign: Signer | None = None
) -> Seal:
    """Write the contest of ``manifest_digest`` with all its evidence from ``store``.

    The file appears whole under its name or not at all. Raises :class:`EvidenceError` where the
    store lacks something, ``OSError`` where the file cannot be written.
    """
    manifest_bytes = store.get(manifest_digest)
    manifest = read_manifest(manifest_bytes)
    members = {
        _MANIFEST: manifest_bytes,
        _POLICY: spelled(manifest.plan.policy, ADDED_LATER),
        **{_EVIDENCE + hex_of(digest): store.get(digest) for digest in digests_of(manifest)},
    }
    unpacked = sum(map(len, members.values()))
    if unpacked > MAX_UNPACKED_BYTES:
        msg = f"the bundle holds {unpacked} bytes; at most {MAX_UNPACKED_BYTES} can be read again"
        raise BundleError(msg)
    seal = seal_over(members, sign)
    data = pack({_SEAL: msgspec.json.encode(seal), **members})
    if len(data) > MAX_BUNDLE_BYTES:
        msg = f"the bundle has {len(data)} bytes; at most {MAX_BUNDLE_BYTES} can be read again"
        raise BundleError(msg)
    _write_whole(path, data)
    return seal


def read_bundle(path: Path, *, verify: Verifier | None = None) -> Bundle:
    """Read a bundle and check everything it says; raises :class:`BundleError` for any other.

    ``verify`` is asked about a signature, and then there must be one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        msg = f"the bundle {path.name} cannot be read: {error.strerror}; check its path"
        raise BundleError(msg) from error
    if len(data) > MAX_BUNDLE_BYTES:
        msg = f"the bundle {path.name} is larger than {MAX_BUNDLE_BYTES} bytes"
        raise BundleError(msg)
    return open_bundle(data, verify=verify)


def open_bundle(data: bytes, *, verify: Verifier | None = None) -> Bundle:
    """As :func:`read_bundle`, for bytes."""
    members = _unpacked(data)
    seal = _checked_seal(members, verify)
    try:
        manifest = read_manifest(members[_MANIFEST])
        expected = {_MANIFEST, _POLICY, _SEAL}
        expected |= {_EVIDENCE + hex_of(digest) for digest in digests_of(manifest)}
        _same_names(set(members), expected)
        if members[_POLICY] != spelled(manifest.plan.policy, ADDED_LATER):
            msg = "the bundle's policy.json is not the policy of its plan"
            raise BundleError(msg)
        blobs = {}
        for name, content in members.items():
            if name.startswith(_EVIDENCE):
                digest = "sha256:" + name.removeprefix(_EVIDENCE)
                if digest_of(content) != digest:
                    msg = f"the bundle's evidence {digest} has been changed"
                    raise BundleError(msg)
                blobs[digest] = content
        rejudged = rejudge_manifest(_Blobs(blobs), manifest)
    except EvidenceError as error:
        msg = f"the bundle's contest cannot be judged again: {error}"
        raise BundleError(msg) from error
    if rejudged.differences:
        msg = f"the bundle says what does not follow from its evidence: {rejudged.differences[0]}"
        raise BundleError(msg)
    manifest_bytes = members[_MANIFEST]
    return Bundle(manifest, manifest_bytes, digest_of(manifest_bytes), seal, rejudged, blobs)


def seal_over(members: Mapping[str, bytes], sign: Signer | None = None) -> Seal:
    """The seal of these members, signed where a signer is given."""
    listed = tuple(
        (name, hashlib.sha256(content).hexdigest()) for name, content in sorted(members.items())
    )
    digest = digest_of("".join(f"{name}:{hashed}\n" for name, hashed in listed).encode())
    signature = None if sign is None else sign(digest.encode())
    return Seal(members=listed, digest=digest, signature=signature)


def pack(members: Mapping[str, bytes]) -> bytes:
    """The zip of these members, in the order of their names, with its own digest as comment."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(members.items()):
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = _PLAIN_FILE
            archive.writestr(info, content)
        archive.comment = b"." * _COMMENT_BYTES  # its length stands before it, in what is hashed
    body = buffer.getvalue()[:-_COMMENT_BYTES]
    return body + digest_of(body).encode()


# -- inside ---------------------------------------------------------------------------------


class _Blobs:
    """Evidence in memory, already checked against its names."""

    def __init__(self, blobs: Mapping[str, bytes]) -> None:
        self._blobs = blobs

    def put(self, data: bytes) -> str:
        """Nothing is ever added to a bundle that was read."""
        msg = f"a bundle that was read takes no evidence, not {digest_of(data)} either"
        raise EvidenceError(msg)

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``."""
        try:
            return self._blobs[digest]
        except KeyError:
            msg = f"there is no evidence {digest[:80]} in the bundle"
            raise EvidenceError(msg) from None


def _unpacked(data: bytes) -> dict[str, bytes]:
    """The members by name, each within its bounds and under a name that a bundle can have."""
    body, comment = data[:-_COMMENT_BYTES], data[-_COMMENT_BYTES:]
    if comment != digest_of(body).encode():
        msg = (
            "the bundle is damaged or cut short: its last bytes are not the digest of the others; "
            "fetch it again from where the contest ran"
        )
        raise BundleError(msg)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            _check_members(infos)
            return {info.filename: _read_member(archive, info) for info in infos}
    except _NOT_A_ZIP as error:
        msg = f"the bundle is no zip that can be read: {error}"
        raise BundleError(msg) from error


def _check_members(infos: list[zipfile.ZipInfo]) -> None:
    if len(infos) > MAX_MEMBERS:
        msg = f"the bundle has {len(infos)} members; at most {MAX_MEMBERS} can belong to a contest"
        raise BundleError(msg)
    names = [info.filename for info in infos]
    for info in infos:
        name = info.filename[:80]
        if not _is_name(info.filename) or info.orig_filename != info.filename:
            msg = f"the bundle has a member {name!r}, which belongs to no contest"
            raise BundleError(msg)
        if names.count(info.filename) > 1:
            msg = f"the bundle has the member {name} twice"
            raise BundleError(msg)
        if info.external_attr != _PLAIN_FILE:
            msg = f"the bundle's member {name} is no plain file"
            raise BundleError(msg)
        if info.file_size > MAX_EVIDENCE_BYTES:
            msg = f"the bundle's member {name} is larger than {MAX_EVIDENCE_BYTES} bytes"
            raise BundleError(msg)
    if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        msg = f"the bundle unpacks to more than {MAX_UNPACKED_BYTES} bytes"
        raise BundleError(msg)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """At most as many bytes as its header says; more would be a header that lies."""
    with archive.open(info) as member:
        content = member.read(info.file_size + 1)
    if len(content) != info.file_size:
        msg = f"the bundle's member {info.filename} is not of the size it says"
        raise BundleError(msg)
    return content


def _is_name(name: str) -> bool:
    if name in (_SEAL, _MANIFEST, _POLICY):
        return True
    try:
        return name == _EVIDENCE + hex_of("sha256:" + name.removeprefix(_EVIDENCE))
    except EvidenceError:
        return False


def _checked_seal(members: Mapping[str, bytes], verify: Verifier | None) -> Seal:
    for name in (_SEAL, _MANIFEST, _POLICY):
        if name not in members:
            msg = f"the bundle is incomplete: it has no {name}"
            raise BundleError(msg)
    try:
        if len(members[_SEAL]) > _MAX_SEAL_BYTES:
            msg = f"the bundle's seal is larger than {_MAX_SEAL_BYTES} bytes"
            raise BundleError(msg)
        seal = msgspec.json.decode(members[_SEAL], type=Seal)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the bundle's seal cannot be read: {error}"
        raise BundleError(msg) from error
    if seal.form != SEAL_FORM:
        msg = f"a bundle of the form {seal.form[:64]!r} cannot be read, only {SEAL_FORM}"
        raise BundleError(msg)
    rest = {name: content for name, content in members.items() if name != _SEAL}
    _same_names(set(rest), {name for name, _ in seal.members})
    own = seal_over(rest)
    for (name, hashed), (_, stated) in zip(own.members, seal.members, strict=True):
        if hashed != stated:
            msg = f"the bundle's member {name} is not the one that was sealed"
            raise BundleError(msg)
    if own.members != seal.members or own.digest != seal.digest:
        msg = "the bundle's seal is not the digest of its own list"
        raise BundleError(msg)
    if verify is not None:
        if seal.signature is None:
            msg = "the bundle is not signed, and a signature is asked for"
            raise BundleError(msg)
        if not verify(seal.digest.encode(), seal.signature):
            msg = f"the bundle's signature is not one of {seal.signature.signer[:64]!r} over it"
            raise BundleError(msg)
    return seal


def _same_names(held: set[str], expected: set[str]) -> None:
    for name in sorted(expected - held):
        msg = f"the bundle is incomplete: {name[:80]} is missing"
        raise BundleError(msg)
    for name in sorted(held - expected):
        msg = f"the bundle has {name[:80]}, which its contest does not name"
        raise BundleError(msg)


def _write_whole(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".bundle-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
