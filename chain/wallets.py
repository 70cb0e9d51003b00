"""Opening a bittensor wallet, through the SDK and nothing else.

Only processes that publish, buy or commit call :func:`open_wallet`. Key files are read by the SDK;
a password is asked for by the SDK (a prompt, or its own environment variables). What is opened here
is never logged, stored or put into an error: errors say which key of which wallet, and no more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from chain.orders import Role
from chain.port import ChainError


class WalletError(ChainError):
    """A wallet, or one of its keys, cannot be opened; the message is one sentence, no secret."""


class Signer(Protocol):
    """A key that can sign; as bittensor's ``Signer``. It has no way to show its secret."""

    @property
    def ss58_address(self) -> str:
        """The account, SS58 format 42."""
        ...

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        ...

    @property
    def crypto_type(self) -> int:
        """0 is ed25519, 1 is sr25519."""
        ...

    def sign(self, payload: bytes) -> bytes:
        """The signature of exactly these bytes."""
        ...


class OpenedWallet:
    """A wallet by name; its keys are opened when they are asked for, once.

    ``repr`` shows the names only.
    """

    def __init__(self, name: str, hotkey: str, path: Path | None) -> None:
        import bittensor

        folder = {} if path is None else {"path": str(path)}
        try:
            self._wallet: Any = bittensor.Wallet(name=name, hotkey=hotkey, **folder)
        except ValueError:
            msg = (
                f"'{name}' with hotkey '{hotkey}' is no name of a wallet; give both as plain names"
            )
            raise WalletError(msg) from None
        self.name = name
        self.hotkey_name = hotkey
        self._opened: dict[Role, Signer] = {}

    def __repr__(self) -> str:
        return f"OpenedWallet(name={self.name!r}, hotkey={self.hotkey_name!r})"

    def address(self, role: Role) -> str:
        """The key's address, from its public file where there is one: no password is needed.

        Raises :class:`WalletError`.
        """
        from bittensor.sp_core import KeyfileError

        if role in self._opened:
            return self._opened[role].ss58_address
        public = self._wallet.coldkeypub_file if role == "coldkey" else self._wallet.hotkeypub_file
        if not public.exists_on_device():
            return self.signer(role).ss58_address
        try:
            return str(public.get_keypair().ss58_address)
        except (KeyfileError, ValueError, OSError):
            sentence = self._sentence(role, "its public file cannot be read as one of a wallet")
        raise WalletError(sentence)

    def signer(self, role: Role) -> Signer:
        """The opened key, asking for its password if it has one. Raises :class:`WalletError`."""
        if role not in self._opened:
            self._opened[role] = self._open(role)
        return self._opened[role]

    def _open(self, role: Role) -> Signer:
        from bittensor.sp_core import KeyfileError
        from bittensor.wallets import signing_keypair

        # Raised below and not from the SDK's error: that one may show what it was working on.
        try:
            opened: Signer = signing_keypair(self._wallet, role)
        except (KeyfileError, ValueError, OSError, EOFError) as error:
            sentence = self._sentence(role, _reason(error))
        else:
            return opened
        raise WalletError(sentence)

    def _sentence(self, role: Role, reason: str) -> str:
        what = f"hotkey '{self.hotkey_name}'" if role == "hotkey" else "coldkey"
        return f"the {what} of wallet '{self.name}' cannot be opened: {reason}"


def open_wallet(name: str, hotkey: str, path: Path | None = None) -> OpenedWallet:
    """The wallet of that name in ``path`` (the SDK's own folder by default); opens no key yet."""
    return OpenedWallet(name, hotkey, path)


def _reason(error: BaseException) -> str:
    """Why a key cannot be opened, in words of our own: nothing of the SDK's text is quoted."""
    from bittensor.sp_core import WrongPasswordError

    # The SDK wraps what went wrong with a coldkey into a ValueError.
    kinds = (error, error.__cause__)
    if any(isinstance(kind, WrongPasswordError) for kind in kinds):
        return "the password is wrong"
    if any(isinstance(kind, FileNotFoundError) for kind in kinds):
        return "there is no such key file; check the names and --wallet-path"
    if any(isinstance(kind, PermissionError) for kind in kinds):
        return "its file may not be read; run as the user who owns it"
    if isinstance(error, EOFError):
        return "it has a password and nobody is there to type it; run in a terminal"
    return "its file cannot be read as a key of a wallet"
