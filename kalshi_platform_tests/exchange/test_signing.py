"""Signatures, checked with the public keys."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.exchange.signing import Signer, load_signer

_TEXT = b"1795219200000GET/trade-api/ws/v2"


def _signature(signer: Signer) -> bytes:
    headers = signer.headers("GET", "/trade-api/ws/v2")
    assert headers["KALSHI-ACCESS-KEY"] == "key-1"
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == "1795219200000"
    return base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"], validate=True)


def _signer(key: rsa.RSAPrivateKey | Ed25519PrivateKey, folder: Path) -> Signer:
    path = folder / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return load_signer("key-1", path, lambda: 1_795_219_200_000)


def test_rsa_signs_with_pss_and_a_salt_of_32_bytes(tmp_path: Path) -> None:
    """The public key accepts the signature with exactly these parameters."""
    key = rsa.generate_private_key(65537, 2048)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32)
    key.public_key().verify(_signature(_signer(key, tmp_path)), _TEXT, pss, hashes.SHA256())


def test_ed25519_signs_the_same_text(tmp_path: Path) -> None:
    """The exchange accepts such keys since 2026-09-24."""
    key = Ed25519PrivateKey.generate()
    key.public_key().verify(_signature(_signer(key, tmp_path)), _TEXT)


def test_a_signer_shows_no_secret(tmp_path: Path) -> None:
    """Its repr names the key's id alone."""
    assert repr(_signer(Ed25519PrivateKey.generate(), tmp_path)) == "Signer('key-1')"


def test_an_unusable_key_is_named_and_not_shown(tmp_path: Path) -> None:
    """The error says which file, and nothing of what is in it."""
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    for path in (broken, tmp_path / "absent.pem"):
        with pytest.raises(ConfigurationError) as caught:
            load_signer("key-1", path, lambda: 0)
        assert str(path) in str(caught.value)
        assert "c2VjcmV0" not in str(caught.value)
