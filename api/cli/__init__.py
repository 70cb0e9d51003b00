"""The command line, `cacheon-ledger`: thin commands over the same reads as HTTP and the pages."""
