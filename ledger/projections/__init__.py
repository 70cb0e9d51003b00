"""The read side: pure folds over the log, and the tables they keep."""
