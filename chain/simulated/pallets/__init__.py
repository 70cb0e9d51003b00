"""What the simulated runtime does for each call, one module per pallet."""
