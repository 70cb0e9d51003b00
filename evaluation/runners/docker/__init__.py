"""Runs images as containers of a Docker Engine on this machine, each shut off from everything.

Import :class:`evaluation.runners.docker.runner.DockerRunner` where it is used: the SDK is heavy.
"""
