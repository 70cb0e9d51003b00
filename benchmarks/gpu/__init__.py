"""The contest on real GPUs: every step of the trial, run by the program's own commands, and what is
made of the bundles that it leaves."""
