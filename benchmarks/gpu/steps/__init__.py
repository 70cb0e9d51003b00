"""The steps of the campaign, one a module: each runs contests and gives tables."""
