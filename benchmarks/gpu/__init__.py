"""The contest on real GPUs: what is run there, and what is made of the bundles it leaves."""
