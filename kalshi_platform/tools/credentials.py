"""The key of the settings, as what signs with it. Kept out: what is signed."""

import time
from pathlib import Path

from kalshi_platform.exchange.signing import Signer, load_signer
from kalshi_platform.service.settings import Settings


def required_signer(settings: Settings) -> Signer:
    """What signs with the settings' key.

    Raises:
        ConfigurationError: There is none, or it cannot be read.
    """
    key_id, key_path = settings.required("api_key_id"), Path(settings.required("private_key_path"))
    return load_signer(key_id, key_path, lambda: time.time_ns() // 1_000_000)


def signer_of(settings: Settings) -> Signer | None:
    """The same where a key is set; None where the exchange is asked as anybody may.

    Raises:
        ConfigurationError: It is set by half, or cannot be read.
    """
    if settings.api_key_id is None and settings.private_key_path is None:
        return None
    return required_signer(settings)
