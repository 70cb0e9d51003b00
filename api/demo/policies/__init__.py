"""The demo's three policies, as templates: addresses and image digests are filled in."""
