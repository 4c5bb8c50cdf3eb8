"""TLS modes in a database's URL, against a real server with a certificate of our own making."""

import datetime as dt
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kalshi_platform.core.schema import STREAM_TABLES, Home
from kalshi_platform.database.errors import DatabaseUnreachableError
from kalshi_platform.database.export import ExportError, watermark
from kalshi_platform.database.migrations import check_revision, migrate_async
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform_tests.database.conftest import OLD_BINARIES

DATABASE = "behind_tls"


@dataclass(frozen=True, slots=True)
class Behind:
    """A server that speaks TLS under the name localhost, and what to trust it by."""

    server: EmbeddedPostgres
    authority: Path
    stranger: Path

    def url(self, host: str, mode: str, authority: Path | None = None) -> str:
        """Its URL with a TLS mode."""
        address = self.server.url(DATABASE).replace("127.0.0.1", host)
        root = f"&sslrootcert={authority}" if authority else ""
        return f"{address}?sslmode={mode}{root}"


def signed_for_itself(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate that is its own authority."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def write_for(owner: os.stat_result, path: Path, data: bytes) -> Path:
    """A file that only the server's user may read, as it demands of a key."""
    path.write_bytes(data)
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
    return path


@pytest.fixture(scope="module")
def behind(roomy_place: Path | None) -> Iterator[Behind]:
    """PostgreSQL 15 with TLS; the embedded one is built without."""
    if not OLD_BINARIES.exists():
        pytest.skip(f"needs PostgreSQL 15 with OpenSSL in {OLD_BINARIES}")
    with tempfile.TemporaryDirectory(prefix="kalshi-tls-", dir=roomy_place) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedPostgres(folder / "postgres", binaries=OLD_BINARIES, settings={"fsync": "off"}) as plain:
            data, owner = plain.data_folder, plain.data_folder.stat()
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        certificate = signed_for_itself("localhost", key)
        settings = {
            "ssl": "on",
            "ssl_cert_file": str(write_for(owner, data / "tls.crt", certificate)),
            "ssl_key_file": str(write_for(owner, data / "tls.key", pem)),
            "fsync": "off",
        }
        server = EmbeddedPostgres(folder / "postgres", binaries=OLD_BINARIES, settings=settings)
        authority, stranger = folder / "authority.pem", folder / "stranger.pem"
        authority.write_bytes(certificate)
        stranger.write_bytes(signed_for_itself("localhost", ec.generate_private_key(ec.SECP256R1())))
        try:
            with server:
                server.create_database(DATABASE)
                yield Behind(server, authority, stranger)
        finally:
            server.delete()


async def is_encrypted(url: str) -> bool:
    """Whether the platform's own way in went through TLS."""
    await migrate_async(url, Home.PRODUCTION)
    await check_revision(url, Home.PRODUCTION)
    watermark(url, STREAM_TABLES)  # another driver
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    finally:
        await connection.close()


async def test_modes_are_honoured(behind: Behind) -> None:
    """Unencrypted where asked for; else encrypted, and with an authority the certificate is looked at."""
    assert not await is_encrypted(behind.url("127.0.0.1", "disable"))
    assert await is_encrypted(behind.url("127.0.0.1", "require"))
    assert await is_encrypted(behind.url("127.0.0.1", "verify-ca", behind.authority))
    assert await is_encrypted(behind.url("localhost", "verify-full", behind.authority))


@pytest.mark.parametrize(("host", "mode"), [("localhost", "verify-ca"), ("localhost", "verify-full")])
async def test_a_stranger_is_refused(behind: Behind, host: str, mode: str) -> None:
    """A certificate that our authority did not sign: both drivers refuse, without showing the password."""
    url = behind.url(host, mode, behind.stranger)
    password = url.partition("postgres:")[2].partition("@")[0]
    with pytest.raises(DatabaseUnreachableError, match=r"(?i)certificate") as refused:
        await check_revision(url, Home.PRODUCTION)
    with pytest.raises(ExportError, match=r"(?i)certificate") as also_refused:
        watermark(url, STREAM_TABLES)
    assert password not in f"{refused.value} {also_refused.value}"


async def test_full_verification_wants_the_name(behind: Behind) -> None:
    """The right authority under another name is not enough."""
    url = behind.url("127.0.0.1", "verify-full", behind.authority)
    with pytest.raises(DatabaseUnreachableError, match=r"(?i)certificate|match"):
        await check_revision(url, Home.PRODUCTION)
    with pytest.raises(ExportError, match=r"(?i)does not match"):
        watermark(url, STREAM_TABLES)


async def test_a_server_without_tls_is_refused(cluster: EmbeddedPostgres) -> None:
    """Who asks for encryption does not silently get none."""
    url = f"{cluster.url()}?sslmode=require"
    with pytest.raises(DatabaseUnreachableError, match=r"(?i)ssl"):
        await check_revision(url, Home.PRODUCTION)
    with pytest.raises(ExportError, match=r"(?i)ssl"):
        watermark(url, STREAM_TABLES)
