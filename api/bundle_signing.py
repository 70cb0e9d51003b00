"""Whose word a bundle is: its seal signed by the hotkey of a wallet, and checked before an import.

The chain's side holds keys and the evaluation's side holds bundles; they meet here. Signatures are
sr25519 over the text of the seal's digest, as in :mod:`evaluation.bundle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ledger.addresses import require_ss58

if TYPE_CHECKING:
    from chain.wallets import Signer as Key
    from evaluation.bundle import Signature, Signer, Verifier

SCHEME: Final = "sr25519"


def signer_with(key: Key) -> Signer:
    """What signs a seal with ``key``; :class:`~chain.wallets.WalletError` for another scheme's."""
    from chain.treasurers import SR25519
    from chain.wallets import WalletError
    from evaluation.bundle import Signature

    if key.crypto_type != SR25519:
        msg = f"{key.ss58_address} is no {SCHEME} key, and bundles are signed with those"
        raise WalletError(msg)

    def sign(digest: bytes) -> Signature:
        return Signature(
            signer=key.ss58_address, scheme=SCHEME, signature=bytes(key.sign(digest)).hex()
        )

    return sign


def verifier_of(signers: Sequence[str]) -> Verifier:
    """What takes the signatures of these accounts and nobody else's.

    Raises :class:`~ledger.addresses.AddressFormError` for a text that is no address. The verifier
    raises :class:`~evaluation.bundle.BundleError` for a signer that is not among them.
    """
    from chain.treasurers import holds
    from evaluation.bundle import BundleError
    from ledger.rules.buybacks import Signed

    for signer in signers:
        require_ss58(signer)

    def verify(digest: bytes, found: Signature) -> bool:
        if found.signer not in signers:
            msg = (
                f"the bundle is signed by {found.signer[:64]!r}, and only {', '.join(signers)} "
                "is believed here; name its signer with --signer if that is right"
            )
            raise BundleError(msg)
        if found.scheme != SCHEME:
            return False
        return holds(digest.decode("ascii"), Signed(found.signer, "0x" + found.signature))

    return verify
