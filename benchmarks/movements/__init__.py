"""Money movements: the same ones as facts for us and as text journals for others."""
