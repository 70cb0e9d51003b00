"""Rented machines: the providers of GPU pods, choosing among them, and reaching one."""
