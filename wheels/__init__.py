"""The contest's commands as a folder of wheels, for a machine without a package index.

Of a checkout only: which libraries, and of which versions, is said by the project's own
dependencies and its lock file, and nowhere else.
"""
