"""Decisions: one module per aggregate, holding its events, its state and its rule."""
