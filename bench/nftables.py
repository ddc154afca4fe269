"""nftables with the rules of bench/firewall.py: the way its manual advises (sets), and rule after rule.

``nft`` is taken from PATH, or from SKEP_NFT. It need not be installed: apt-get download nftables libnftables1
libnftnl11 libmnl0 libjansson4 libedit2 libbsd0 libxtables12, dpkg -x each into a folder, set LD_LIBRARY_PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Denied:
    """One rule: packets from a network, all of them (port 0) or those to a TCP port."""

    network: str
    port: int = 0


_LAST = """
    ip daddr 192.0.2.0/24 ip protocol tcp accept
    ip daddr 192.0.2.0/24 udp dport 53 accept
"""


def find_nft() -> str | None:
    """The program, if there is one."""
    return os.environ.get("SKEP_NFT") or shutil.which("nft")


def with_sets(rules: Sequence[Denied]) -> str:
    """The rules as two sets, one of networks, one of networks with ports."""
    sources = ", ".join(rule.network for rule in rules if not rule.port)
    services = ", ".join(f"{rule.network} . {rule.port}" for rule in rules if rule.port)
    return f"""table netdev bench {{
  set sources {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {sources} }} }}
  set services {{ type ipv4_addr . inet_service; flags interval; elements = {{ {services} }} }}
  chain in {{
    type filter hook ingress device "vb" priority 0; policy drop;
    ip saddr @sources drop
    ip saddr . tcp dport @services drop{_LAST}
  }}
}}
"""


def one_by_one(rules: Sequence[Denied]) -> str:
    """A line per rule, in their order."""
    lines = [
        f"    ip saddr {rule.network} tcp dport {rule.port} drop" if rule.port else f"    ip saddr {rule.network} drop"
        for rule in rules
    ]
    text = "\n".join(lines)
    return f"""table netdev bench {{
  chain in {{
    type filter hook ingress device "vb" priority 0; policy drop;
{text}{_LAST}
  }}
}}
"""


@contextmanager
def in_force(nft: str, ruleset: str) -> Iterator[float]:
    """The rules on vb of this thread's namespace; gives the seconds that it took to load them."""
    started = time.perf_counter()
    subprocess.run([nft, "-f", "-"], input=ruleset, text=True, check=True)
    try:
        yield time.perf_counter() - started
    finally:
        subprocess.run([nft, "delete", "table", "netdev", "bench"], check=True)
