"""Rule files of others, as rule files of skep firewall: what can be said is said, each line that cannot is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from skep.tools.firewall.importers.draft import Imported
from skep.tools.firewall.importers.iptables import read_ip6tables, read_iptables
from skep.tools.firewall.importers.nftables import read_nftables

__all__ = ["IMPORTERS", "Imported"]

IMPORTERS: Mapping[str, Callable[[Path], Imported]] = {
    "iptables": read_iptables,
    "ip6tables": read_ip6tables,
    "nftables": read_nftables,
}
