"""Pictures from addresses that a client names: only from hosts that were allowed, and only if these are public.

A name is resolved once and the connection goes to that address, so an answer that changes between the check and the
connection (DNS rebinding) reaches nothing. Each redirect is checked as the first address was. Proxies are not used:
they would resolve the name once more.
"""

import http.client
import ipaddress
import socket
import ssl
import time
import urllib.parse
from collections.abc import Collection

from m3it_jax import errors

SECONDS = 10.0  # CHOICE: for all of one picture, redirects included
_MOST_REDIRECTS = 3  # CHOICE: a host's own www and https, and one more
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits


def fetch(url: str, *, hosts: Collection[str], most_bytes: int) -> bytes:
    """Returns what lies at an address.

    Args:
      url: `http(s)://host[:port]/...`.
      hosts: Allowed hosts, lower case, with `:port` where it is not the scheme's own.
      most_bytes: Of the picture.

    Raises:
      UserError: the host is not allowed or not public, or there is no picture of at most so many bytes in time. The
        message says nothing that the address does not.
    """
    deadline = time.monotonic() + SECONDS
    for _ in range(_MOST_REDIRECTS + 1):
        scheme, host, port, path = _parts(url, hosts)
        connection = _connect(scheme, host, port, deadline=deadline)
        try:
            connection.request("GET", path, headers={"Accept": "image/*", "Accept-Encoding": "identity"})
            response = connection.getresponse()
            if response.status not in _REDIRECTS:
                return _body(response, most_bytes, deadline)
            url = urllib.parse.urljoin(url, response.headers.get("Location", ""))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise errors.UserError("the picture cannot be fetched from its address") from error
        finally:
            connection.close()
    raise errors.UserError(f"the picture's address redirects more than {_MOST_REDIRECTS} times")


def _parts(url: str, hosts: Collection[str]) -> tuple[str, str, int, str]:
    """Returns (scheme, host, port, path with query).

    Raises:
      UserError: it is no plain address of an allowed host.
    """
    # Programs take a backslash, a blank or a letter beyond ASCII apart in different ways; no address needs one.
    plain = url.isascii() and url.isprintable() and not any(letter in url for letter in ' \\<>"{}|^`')
    try:
        parts = urllib.parse.urlsplit(url)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
    except ValueError:
        plain = False
    if not plain or scheme not in ("http", "https") or "@" in parts.netloc or not host:
        raise errors.UserError("the picture's address must be a plain http(s)://host/path")
    own = 443 if scheme == "https" else 80
    if (host if port in (None, own) else f"{host}:{port}") not in hosts:
        raise errors.UserError("pictures from this address are not allowed by the server")
    return scheme, host, port or own, urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))


def _connect(scheme: str, host: str, port: int, *, deadline: float) -> http.client.HTTPConnection:
    """Returns a connection to the one address that the name was resolved to.

    Raises:
      UserError: there is none, or it is not public.
    """
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise errors.UserError("the picture's host has no address") from error
    if not found or not all(is_public(address) for address in found):
        raise errors.UserError("the picture's host is not on the public network")
    seconds = max(deadline - time.monotonic(), 0.1)
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    if scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
    # The certificate is still checked against the name.
    pinned = {"_create_connection": lambda *_, **__: socket.create_connection((found[0], port), timeout=seconds)}
    vars(connection).update(pinned)
    return connection


def is_public(address: str) -> bool:
    """Returns whether an IP address is one that everybody can reach: not loopback, private or reserved."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner:
            return is_public(str(inner))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


def _body(response: http.client.HTTPResponse, most_bytes: int, deadline: float) -> bytes:
    if response.status != 200 or response.headers.get("Content-Encoding", "identity") != "identity":
        raise errors.UserError(f"the picture's address answered {response.status}, not with a plain file")
    parts, size = [], 0
    while part := response.read1(1 << 16):
        size += len(part)
        if size > most_bytes:
            raise errors.UserError(f"the picture at the address has more than {most_bytes:,} bytes")
        if time.monotonic() > deadline:
            raise errors.UserError(f"the picture's address took more than {SECONDS:.0f} seconds")
        parts.append(part)
    return b"".join(parts)
