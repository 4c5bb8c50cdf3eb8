"""Addresses without their secrets, for people, logs and errors.

Kept out: what an address is for.
"""

import re

_PASSWORD_OPTION = re.compile(r"([?&][^=&]*password=)[^&]*", re.IGNORECASE)


def masked(url: str) -> str:
    """The URL without its passwords; hides too much rather than too little."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    credentials, at, place = rest.rpartition("@")
    if not at and ":" in rest:  # a port, or a password cut off from its host: nobody can tell
        return f"{scheme}://***"
    user, colon, _ = credentials.partition(":")
    shown = f"{user}:***" if colon else user
    return _PASSWORD_OPTION.sub(r"\1***", f"{scheme}://{shown}{at}{place}")
