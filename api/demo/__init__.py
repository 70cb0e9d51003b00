"""The demo: a whole season on a simulated chain, with real contests, in about a minute."""
