"""An address of SSH is read as what it says, and nothing that ssh could take for more is let by."""

from __future__ import annotations

import pytest

from evaluation.pods.address import AddressFormError, parse_address
from evaluation.pods.port import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("root@10.0.0.1:2222", Address("root", "10.0.0.1", 2222)),
        ("ubuntu@pod-1.example.org", Address("ubuntu", "pod-1.example.org", 22)),
        ("root@[2001:db8::7]:2200", Address("root", "2001:db8::7", 2200)),
        ("root@[2001:db8::7]", Address("root", "2001:db8::7", 22)),
        ("root@2001:db8::7", Address("root", "2001:db8::7", 22)),
    ],
)
def test_an_address_is_user_host_and_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", "@host", "root@", "root@host:", "root@host:x", "root@host:0"),
        *("root@host:65536", "root@host:٢٢", "root@host:22:22", "root@[::1", "root@[::1]22"),
        *("-oProxyCommand=x@host", "root@-oProxyCommand=x", "root@a b", "root@a\nb", "root@%h"),
        *("root@fe80::1%eth0", "ro ot@host", "root@host/path", "root@..", "root@" + "a" * 300),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(AddressFormError):
        parse_address(text)
