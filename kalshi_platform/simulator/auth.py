"""Who is asking: the three KALSHI-ACCESS headers, checked as the exchange checks them.

Protocol §1; the refusals are the bodies that the demo exchange was recorded to send. Making keys is `keys`' business.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding

from kalshi_platform.simulator.keys import PublicKey, read_public_key

KEY_HEADER = "KALSHI-ACCESS-KEY"
TIMESTAMP_HEADER = "KALSHI-ACCESS-TIMESTAMP"
SIGNATURE_HEADER = "KALSHI-ACCESS-SIGNATURE"
MAX_SKEW_MS = 30_000

_SALT_BYTES = 32


class RefusedError(Exception):
    """A request that the exchange answers with 401; `body` is what it says."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body.decode())
        self.body = body


NO_SIGNATURE = b'{"error":{"code":"signature_is_missing_from_headers","message":"signature is missing from headers"}}'
UNKNOWN_KEY = b'{"error":{"code":"authentication_error","message":"authentication_error","details":"NOT_FOUND"}}'
EXPIRED = b'{"error":{"code":"header_timestamp_expired","message":"header timestamp expired"}}'
WRONG_SIGNATURE = (
    b'{"error":{"code":"authentication_error","message":"authentication_error",'
    b'"details":"INCORRECT_API_KEY_SIGNATURE"}}'
)


class Gatekeeper:
    """Knows the public keys and decides whether a request comes from their owners."""

    def __init__(self, keys: Mapping[str, Path], clock: Callable[[], int]) -> None:
        self._keys = {key_id: read_public_key(path) for key_id, path in keys.items()}
        self._clock = clock

    @staticmethod
    def is_signed(headers: Mapping[str, str]) -> bool:
        """Whether a request claims to come from somebody; market data does not require it."""
        return any(header in headers for header in (KEY_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER))

    def identify(self, method: str, path: str, headers: Mapping[str, str]) -> str:
        """Return the API key id that signed this request.

        Args:
            method: Upper case, as on the request line.
            path: From `/trade-api` on, without the query: that part is not signed.
            headers: Of the request; looked up without regard to case by the server's own mapping.

        Raises:
            RefusedError: unsigned, unknown, too old, or signed for something else.
        """
        signature = headers.get(SIGNATURE_HEADER)
        if not signature:
            raise RefusedError(NO_SIGNATURE)
        key_id = headers.get(KEY_HEADER, "")
        key = self._keys.get(key_id)
        if key is None:
            raise RefusedError(UNKNOWN_KEY)
        timestamp = headers.get(TIMESTAMP_HEADER, "")
        self._check_age(timestamp)
        _check_signature(key, signature, f"{timestamp}{method}{path}".encode())
        return key_id

    def _check_age(self, timestamp: str) -> None:
        is_number = timestamp.isascii() and timestamp.isdigit()
        if not is_number or abs(self._clock() - int(timestamp)) >= MAX_SKEW_MS:
            raise RefusedError(EXPIRED)


def _check_signature(key: PublicKey, signature: str, text: bytes) -> None:
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(raw, text)
        else:
            mask = padding.MGF1(hashes.SHA256())
            key.verify(raw, text, padding.PSS(mgf=mask, salt_length=_SALT_BYTES), hashes.SHA256())
    except (InvalidSignature, binascii.Error) as error:
        raise RefusedError(WRONG_SIGNATURE) from error
