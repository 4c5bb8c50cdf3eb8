"""Request signing (kalshi-protocol.md §1): three headers, made anew for every request and every handshake.

RSA keys sign with PSS, SHA-256 and a salt of 32 bytes; Ed25519 keys (accepted since 2026-09-24) sign the same text.
Kept out: where keys come from and what is sent.
"""

import base64
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kalshi_platform.core.errors import ConfigurationError

_SALT_BYTES = 32


class Signer:
    """Signs requests with one API key; its repr shows the key's id and nothing secret.

    Args:
        key_id: The API key's UUID.
        private_key: RSA or Ed25519.
        now_ms: The clock, in milliseconds since 1970; the exchange refuses a skew of 30 s.
    """

    def __init__(self, key_id: str, private_key: RSAPrivateKey | Ed25519PrivateKey, now_ms: Callable[[], int]) -> None:
        self._key_id = key_id
        self._private_key = private_key
        self._now_ms = now_ms

    def __repr__(self) -> str:
        return f"Signer({self._key_id!r})"

    @property
    def key_id(self) -> str:
        """The API key's id, which is no secret."""
        return self._key_id

    def headers(self, method: str, path: str) -> dict[str, str]:
        """Headers for one request.

        Args:
            method: Upper case; "GET" for a WebSocket handshake.
            path: From `/trade-api/`, without host and query.
        """
        timestamp = str(self._now_ms())
        signature = self._sign(f"{timestamp}{method}{path}".encode())
        return {
            "KALSHI-ACCESS-KEY": self._key_id,
            "KALSHI-ACCESS-TIMESTAMP": timestamp,
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
        }

    def _sign(self, text: bytes) -> bytes:
        if isinstance(self._private_key, Ed25519PrivateKey):
            return self._private_key.sign(text)
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=_SALT_BYTES)
        return self._private_key.sign(text, pss, hashes.SHA256())


def load_signer(key_id: str, private_key_path: Path, now_ms: Callable[[], int]) -> Signer:
    """A signer from a PEM file.

    Raises:
        ConfigurationError: Where the file cannot be read or holds no usable key; its content is never shown.
    """
    try:
        key = load_pem_private_key(private_key_path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationError(f"cannot read the private key at {private_key_path}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigurationError(f"{private_key_path} holds no unencrypted PEM private key") from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise ConfigurationError(f"{private_key_path} holds neither an RSA nor an Ed25519 key")
    return Signer(key_id, key, now_ms)
