"""Contests: what is asked of miners' servers, how it is timed and judged, and on what machine.

What happened leaves as facts for the ledger's commands. This package never imports the chain.
"""
