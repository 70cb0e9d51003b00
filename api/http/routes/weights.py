"""The weight vector at a block, and the vectors that were sent."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api import reads
from api.answers import Listing
from api.http.reading import Ask, Paged
from api.http.schema import described
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
