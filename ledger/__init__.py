"""The ledger: facts, decisions and projections of Cacheon's competition.

This package knows no network, no clock, no chain and no GPU. What happened outside reaches it
through commands (:mod:`ledger.application`); what it knows leaves through projections.
"""
