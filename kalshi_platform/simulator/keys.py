"""Key pairs: makes them for a local run, and reads the public halves that the exchange knows.

Checking a signature is `auth`'s business.
"""

import os
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

KeyKind = Literal["rsa", "ed25519"]
PublicKey = rsa.RSAPublicKey | ed25519.Ed25519PublicKey

_RSA_BITS = 2048


def write_key_pair(private_path: Path, public_path: Path, kind: KeyKind = "rsa") -> None:
    """Make a key pair as the exchange's web page does: the private half for the client, the public one for us.

    Args:
        private_path: Receives the unencrypted PEM, readable by its owner alone. Must not exist.
        public_path: Receives the PEM for `SimulatorOptions.keys`.
        kind: `ed25519` is what the exchange makes by default since October 2026, `rsa` what it made before.
    """
    private = _new_private_key(kind)
    style = PrivateFormat.TraditionalOpenSSL if kind == "rsa" else PrivateFormat.PKCS8
    # The mode is set when the file is made: there is no moment in which others could read it.
    descriptor = os.open(private_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private.private_bytes(Encoding.PEM, style, NoEncryption()))
    public_path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _new_private_key(kind: KeyKind) -> rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)


def read_public_key(path: Path) -> PublicKey:
    """Read a public key of a kind that the exchange accepts.

    Raises:
        ValueError: the file holds another kind of key, or none.
    """
    key = load_pem_public_key(path.read_bytes())
    if not isinstance(key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise ValueError(f"{path} holds neither an RSA nor an Ed25519 public key")  # noqa: TRY004 - a wrong value
    return key
