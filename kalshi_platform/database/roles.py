"""Roles: what each part of the platform may do, and logins that may do only that.

The group roles and their rights are made by the migrations; a test proves what each may not do. Here belongs naming
them and making login users that are members. Kept out: the rights themselves, and where passwords come from.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from enum import StrEnum

import asyncpg

from kalshi_platform.core.schema import Home

_ITERATIONS = 4096


class Role(StrEnum):
    """Group roles without a login of their own."""

    GATHERER = "kalshi_gatherer"
    """On a gatherer: reads and adds rows, makes partitions."""

    SYNC = "kalshi_sync"
    """On a gatherer: reads."""

    DEDUP = "kalshi_dedup"
    """On production: reads and adds rows, makes partitions, moves cursors."""

    EXPORT = "kalshi_export"
    """On production: reads, and sees the views for people."""

    CATALOGUE = "kalshi_catalogue"
    """On production: fills series, events, markets and the history of their statuses."""

    ANALYST = "kalshi_analyst"
    """On production: sees the views for people, and nothing else."""


ROLES_OF: Mapping[Home, tuple[Role, ...]] = {
    Home.GATHERER: (Role.GATHERER, Role.SYNC),
    Home.PRODUCTION: (Role.DEDUP, Role.EXPORT, Role.CATALOGUE, Role.ANALYST),
}
"""The roles that each kind of database's migrations make."""


async def create_login(connection: asyncpg.Connection, name: str, password: str, role: Role) -> None:
    """Make a login user with the rights of one role, or give the one that is there this password and role.

    The server sees a SCRAM verifier, never the password, so its log cannot show it.
    """
    quoted = '"' + name.replace('"', '""') + '"'
    exists = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name)
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(
        f"{verb} ROLE {quoted} LOGIN PASSWORD '{scram_verifier(password, secrets.token_bytes(16))}'"
    )
    await connection.execute(f"GRANT {role.value} TO {quoted}")


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL stores for a password (RFC 5803); the password must be plain ASCII."""
    if not password.isascii() or not password.isprintable():
        raise ValueError("a database password must be printable ASCII")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${_ITERATIONS}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
