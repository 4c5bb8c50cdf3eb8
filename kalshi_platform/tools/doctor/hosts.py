"""Which hosts are this machine. Kept out: resolving names."""

from ipaddress import ip_address


def is_local(host: str) -> bool:
    """Whether what goes there never leaves this machine; a socket's folder is local too."""
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
