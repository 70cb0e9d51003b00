"""The numbers that policy documents may hold, and their bounds."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from ledger.units import PPM

MAX_BLOCKS: Final = 2**32 - 1
"""Block numbers are u32 on the chain, and so are the distances between them."""
MAX_INTEGER: Final = 2**63 - 1
"""The largest integer that both databases keep. Amounts on the chain are u64, and all TAO there
will ever be is less than a four-hundredth of this."""
MAX_TIMEOUT_S: Final = 86_400

Ppm = Annotated[int, Meta(ge=0, le=PPM)]
Positive = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
NonNegative = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Block = Annotated[int, Meta(ge=0, le=MAX_BLOCKS)]
SomeBlocks = Annotated[int, Meta(ge=1, le=MAX_BLOCKS)]
Seconds = Annotated[int, Meta(ge=1, le=MAX_TIMEOUT_S)]
