"""Example policy documents: the three phases of emission as they were (DOMAIN 4 and 5), and our own
rule with the plan that one GPU hour for each challenger allows."""

from __future__ import annotations

from importlib import resources

from ledger.policy import PolicyError


def names() -> tuple[str, ...]:
    """The documents there are, by name."""
    return tuple(
        sorted(
            entry.name.removesuffix(".toml")
            for entry in resources.files(__name__).iterdir()
            if entry.name.endswith(".toml")
        )
    )


def load(name: str) -> str:
    """The TOML text of the document ``name``; :class:`PolicyError` names those there are."""
    if name not in names():
        msg = f"there is no example policy '{name}'; there are: {', '.join(names())}"
        raise PolicyError(msg)
    return resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
