"""How much the same server differs from itself, and what the rules make of it."""
