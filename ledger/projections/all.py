"""Every projection there is, in the order in which they are brought up to date."""

from __future__ import annotations

from typing import Final

from ledger.projections.contests import ContestsProjection
from ledger.projections.costs import CostsProjection
from ledger.projections.emissions import EmissionsProjection
from ledger.projections.gaps import GapsProjection
from ledger.projections.journal import JournalProjection
from ledger.projections.payouts import PayoutsProjection
from ledger.projections.periods import PeriodsProjection
from ledger.projections.reigns import ReignsProjection
from ledger.projections.rentals import RentalsProjection
from ledger.projections.runner import Projection
from ledger.projections.submissions import SubmissionsProjection
from ledger.projections.subnet import SubnetProjection
from ledger.projections.treasury import TreasuryProjection
from ledger.projections.weights import WeightsProjection

PROJECTIONS: Final[tuple[Projection, ...]] = (
    SubmissionsProjection(),
    ContestsProjection(),
    ReignsProjection(),
    WeightsProjection(),
    EmissionsProjection(),
    PayoutsProjection(),
    JournalProjection(),
    GapsProjection(),
    TreasuryProjection(),
    RentalsProjection(),
    SubnetProjection(),
    PeriodsProjection(),
    CostsProjection(),
)
