"""A realistic year of one arena, generated: the log that the long benchmarks read.

Epochs with 256 payouts each, submissions with their payments, contests, crowns, weights, prices,
rentals, conversions and buybacks, as :mod:`benchmarks.year.mix` says how often. The facts come from
the ledger's own commands, run over memory instead of a database, so that keys, versions and causes
are what the program would record.

The chain makes 2.6 million blocks a year. Here the arena's clock ticks every third or fourth block,
so that the whole year, with everything in it, has 1,000,000 events.
"""

from benchmarks.year.loading import Year, load_year, loaded_year
from benchmarks.year.log import FEWEST_EVENTS, SEED, year
from benchmarks.year.mix import ARENA, NETWORK, OPENED_AT

__all__ = [
    "ARENA",
    "FEWEST_EVENTS",
    "NETWORK",
    "OPENED_AT",
    "SEED",
    "Year",
    "load_year",
    "loaded_year",
    "year",
]
