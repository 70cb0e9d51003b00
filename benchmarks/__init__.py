"""Benchmarks: each is a ratio of two things measured side by side, so that machines compare."""
