"""The reference: a small transformer and real HTTP servers around it, honest and cheating.

Contests of the demo and of the tests are run between these servers. Nothing is imported here, so
that a server process can limit the BLAS threads before numpy is loaded.
"""
