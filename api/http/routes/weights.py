"""The weight vector at a block, and the vectors that were sent."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api import reads
from api.answers import Listing, WeightsCompared, WeightsExplained
from api.http.reading import Ask, Paged
from api.http.schema import described
from ledger.queries.comparison import WeightsStatus
from ledger.queries.weights import SentVector, VectorView

router = APIRouter(prefix="/v1/arenas/{network}/{netuid}/weights", tags=["weights"])


@router.get(
    "",
    summary="Weights",
    description="The vector in force at the block: u16 `values` by UID (the largest is 65,535), "
    "the digest of its canonical bytes, and the reason of each part of each share in ppm. Any "
    "validator with the log computes the same bytes.",
    responses=described(VectorView),
)
def weights(ask: Ask) -> Response:
    """The vector with what explains it."""
    return ask.answer(reads.weights)


@router.get(
    "/sent",
    summary="Vectors sent",
    description="Every vector that was sent, oldest first, with the block it was computed for, "
    "where it landed, and the chain's reason where it was refused (`success` is null while that "
    "is not known).",
    responses=described(Listing[SentVector]),
)
def sent(ask: Ask, page: Paged) -> Response:
    """The vectors sent so far."""
    return ask.answer(lambda scope: reads.sent(scope, page))


@router.get(
    "/compare",
    summary="Weights compared",
    description="The vector computed at the block beside what each validator submitted (through "
    "this ledger) and holds on chain, with every UID whose u16 value is not the same. `holds` is "
    "`nothing` where the chain showed no weights, and `unknown` where nobody looked.",
    responses=described(WeightsCompared),
)
def compare(ask: Ask, page: Paged) -> Response:
    """Computed, submitted, on chain."""
    return ask.answer(lambda scope: reads.compared_weights(scope, page))


@router.get(
    "/explain",
    summary="Weights explained",
    description="Each UID's share of the vector at the block, in ppm and as u16, and why.",
    responses=described(WeightsExplained),
)
def explain(ask: Ask) -> Response:
    """Why each UID has its share."""
    return ask.answer(reads.explained_weights)


@router.get(
    "/status",
    summary="Status of weights",
    description="The last safe block, gaps, the burn UID, pauses, and the vectors last sent, "
    "landed and held. How far ingest lags is null here: no node is asked.",
    responses=described(WeightsStatus),
)
def status(ask: Ask) -> Response:
    """Whether weights can be trusted and sent."""
    return ask.answer(reads.weights_status, names_head=True)
