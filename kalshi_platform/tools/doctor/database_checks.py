"""The databases of the settings: reached, of the right kind and schema, rights, encryption, signs of life.

Production may be named three times, with the logins of what is fetched over REST and of the tables' owner. Kept out:
asking them (`database.survey`).
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from kalshi_platform.core.schema import Home
from kalshi_platform.database.compression import UPDATE_IT, fault_of_version
from kalshi_platform.database.migrations import OLDEST_SERVER, UPGRADE_IT, newest_revision
from kalshi_platform.database.renumbering import FOREIGN, RENUMBER_IT
from kalshi_platform.database.roles import ROLES_OF, Role
from kalshi_platform.database.survey import survey
from kalshi_platform.service.settings import Settings
from kalshi_platform.tools.doctor.findings import Finding, note, problem, well
from kalshi_platform.tools.doctor.hosts import is_local
from kalshi_platform.tools.status.facts import Database, database_urls, survey_all
from kalshi_platform.tools.status.view import seconds

_LATE_SECONDS = 60.0

_BY_BYTES = ("C", "POSIX")

LOGINS = {"catalogue_database_url": "catalogue", "owners_database_url": "owner"}
"""Settings that name production once more, for another login; and what findings call it."""

_CATALOGUE = (Role.CATALOGUE, Role.DEDUP)


async def check_databases(settings: Settings) -> list[Finding]:
    """Every database that is named.

    Raises:
        ConfigurationError: KALSHI_GATHERERS cannot be read.
    """
    urls = database_urls(settings)
    if not urls:
        remedy = "set KALSHI_GATHERER_DATABASE_URL, KALSHI_GATHERERS or KALSHI_PRODUCTION_DATABASE_URL"
        return [note("databases", "none is named", remedy)]
    found = await survey_all(urls)
    findings = [finding for one in found for finding in check_database(one, urls[one.name])]
    for name, subject in LOGINS.items():
        if getattr(settings, name) is not None:
            findings += await check_login(subject, settings.required(name))
    return findings


async def check_login(subject: str, url: str) -> list[Finding]:
    """Production by the address for another login: its rights are those that it is there for."""
    found = await survey(url, Home.PRODUCTION)
    database = Database(subject, found, newest_revision(Home.PRODUCTION))
    if found.error or not found.is_migrated:
        return check_database(database, url)
    bad = [*_schema(database), *_encryption(database, url)]
    missing = [role.value for role in _CATALOGUE if role.value not in found.roles]
    if subject == "owner" and not found.is_owner:
        remedy = "log in as the user that ran `kalshi-platform migrate production`: old partitions are dropped with it"
        bad.append(problem(subject, f"{found.user} does not own the tables", remedy))
    elif subject == "catalogue" and missing and not found.is_superuser:
        bad.append(
            problem(subject, f"{found.user} is no member of {missing[0]}", f"GRANT {missing[0]} TO {found.user}")
        )
    return bad or [well(subject, f"PostgreSQL {found.version}, as {found.user}")]


def check_database(database: Database, url: str) -> list[Finding]:
    """One database, by what it says of itself."""
    name, found = database.name, database.survey
    if found.error:
        remedy = "check that the server runs, the address, the login and its password, and what lies between"
        return [problem(name, f"{found.address} cannot be used: {found.error}", remedy)]
    findings = [
        *_schema(database),
        *_rights(database),
        *_encryption(database, url),
        *_order(database),
        *_life(database),
    ]
    if found.version_number < OLDEST_SERVER:
        findings.append(problem(name, f"PostgreSQL {found.version} is too old", UPGRADE_IT))
    if fault := fault_of_version(found.timescale):
        findings.append(problem(name, fault, UPDATE_IT))
    bad = [one for one in findings if one.remedy]
    return bad or [well(name, f"PostgreSQL {found.version}, schema {found.revision}, as {found.user}")]


def _schema(database: Database) -> Iterator[Finding]:
    name, found = database.name, database.survey
    kind = found.home.value
    if not found.is_migrated:
        yield problem(name, "it has no schema yet", f"kalshi-platform migrate {kind}")
    elif found.revision is None:
        return  # our login may not ask: its rights are the problem
    elif not found.revision.startswith(kind):
        yield problem(
            name, f"it carries {found.revision}: it is no {kind} database", "check the address in the settings"
        )
    elif found.revision < database.newest:
        remedy = f"kalshi-platform migrate {kind}"
        yield problem(name, f"its schema is {found.revision}, this version works with {database.newest}", remedy)
    elif found.revision > database.newest:
        remedy = "update kalshi-platform on this machine"
        yield problem(name, f"its schema is {found.revision}, later than this version's {database.newest}", remedy)


def _rights(database: Database) -> Iterator[Finding]:
    name, found = database.name, database.survey
    if found.is_superuser:
        yield note(name, f"{found.user} is a superuser: more than any daemon needs", _membership(found.home))
    elif not found.roles and found.is_migrated:
        yield problem(
            name, f"{found.user} is a member of none of our roles, and may do nothing", _membership(found.home)
        )


def _membership(home: Home) -> str:
    names = " or ".join(role.value for role in ROLES_OF[home])
    return f"log in as a user that is a member of {names} (GRANT the role TO the user)"


def _encryption(database: Database, url: str) -> Iterator[Finding]:
    host = urlsplit(url).hostname or ""
    if not database.survey.is_encrypted and not is_local(host):
        yield problem(
            database.name,
            f"what is said with {host} is not encrypted",
            "add ?sslmode=verify-full&sslrootcert=… to its address (on RDS with Amazon's bundle)",
        )


def _order(database: Database) -> Iterator[Finding]:
    """Measured: an insert of deltas costs the server 40 % more CPU by en_US.UTF-8 than by bytes (PostgreSQL 18)."""
    if database.survey.sorts_by not in _BY_BYTES:
        yield note(
            database.name,
            f"its text sorts by {database.survey.sorts_by}: writing costs more, and an update of the C library that "
            "sorts otherwise damages its indexes",
            "give its successor LOCALE 'C' (docs/operations.md, making one)",
        )


def _life(database: Database) -> Iterator[Finding]:
    name, found = database.name, database.survey
    if found.has_foreign_ids:
        yield problem(name, FOREIGN, RENUMBER_IT)
    silence = found.silence_seconds
    if silence is not None and silence > _LATE_SECONDS:
        yield problem(name, f"nothing was written for {seconds(silence)}", "start its gatherer, and read its log")
    for gatherer in dict.fromkeys(one.gatherer_id for one in found.cursors):
        quiet = min(one.quiet_seconds for one in found.cursors if one.gatherer_id == gatherer)
        if quiet > _LATE_SECONDS:
            remedy = "look whether this gatherer and the deduplicator run; until then the others hold the record"
            yield problem(name, f"nothing of {gatherer} was merged for {seconds(quiet)}", remedy)
