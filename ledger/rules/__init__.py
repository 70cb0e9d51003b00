"""The rules of the competition: pure functions over integers (DOMAIN 2, 4, 5)."""
