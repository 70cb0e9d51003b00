"""Cheats before and behind a real server, as launch profiles: a folder for `--profiles`."""
