"""The books: accounts, postings and reconciliation. Integers only; nothing here does I/O."""
