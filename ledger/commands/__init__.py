"""The commands: what the rim may ask of one arena's ledger. Each records whole or not at all."""
