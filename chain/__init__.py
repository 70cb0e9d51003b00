"""The chain: finalized blocks in, weights and burns out. Turns both into the ledger's facts."""
