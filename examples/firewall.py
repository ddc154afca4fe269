"""The firewall from Python: block networks, run it over real packets, read its counters."""

import ipaddress
import sys
from pathlib import Path

import skep

HERE = Path(__file__).parent
RULE_FIRST_NETWORK = 3


def network_key(text: str) -> dict[str, object]:
    """A network as the program's ``struct network``: IPv4 as ::ffff:a.b.c.d, 96 bits longer."""
    network = ipaddress.ip_network(text)
    if network.version == 4:
        return {
            "prefixlen": network.prefixlen + 96,
            "address": bytes(10) + b"\xff\xff" + network.network_address.packed,
        }
    return {"prefixlen": network.prefixlen, "address": network.network_address.packed}


blocked = sys.argv[1:] or ["10.77.0.2/32", "fd77::2/128"]

spec = skep.compile(HERE / "firewall.bpf.c")
with skep.load(spec, variables={"blocked_port": 53}) as firewall:
    for rule, network in enumerate(blocked, RULE_FIRST_NETWORK):
        firewall.maps["networks"][network_key(network)] = rule
    run = firewall.programs["firewall"].attach(skep.hooks.Pcap(HERE / "data" / "real.pcap")).run()
    print(dict(run.verdicts), f"{run.seconds * 1e9 / run.packets:.0f} ns per packet")
    names = ["passed", "blocked port", "malformed", *blocked]
    for name, per_cpu in zip(names, firewall.maps["rules"].values(), strict=False):
        print(f"{name:>16}: {sum(counter['packets'] for counter in per_cpu)} packets")
