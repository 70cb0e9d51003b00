"""A mark for each image that a stage is about to pull: a labelled, empty volume.

Images cannot be labelled by whoever pulls them. The mark is made before the pull begins, so that an
image which a dead process pulled is found and removed all the same.
"""

from __future__ import annotations

import secrets

from evaluation.images import ImageRef
from evaluation.runners.docker.connection import Connection
from evaluation.runners.docker.ownership import IMAGE_LABEL, Ownership


def mark_pull(connection: Connection, image: ImageRef, ownership: Ownership) -> None:
    """Say that this image goes when the stage goes. Raises what the SDK raises."""
    connection.client.api.create_volume(
        name=f"cacheon-ledger-pull-{ownership.stage}-{secrets.token_hex(4)}",
        labels=ownership.labels(**{IMAGE_LABEL: str(image)}),
    )
