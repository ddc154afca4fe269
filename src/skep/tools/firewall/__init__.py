"""skep firewall: rules by network, protocol, port and interface; a packet costs the same for any number of them.

::

    from skep.tools.firewall import Firewall, read_rules

    with Firewall(read_rules(Path("rules.yaml"))) as firewall:
        run = firewall.run(skep.hooks.Pcap("in.pcap", out="passed.pcap"))
        print(run.verdicts, firewall.reasons())
"""

from skep.tools.counters import Count
from skep.tools.firewall.decisions import Decision
from skep.tools.firewall.firewall import Firewall
from skep.tools.firewall.rulefile import parse_rules, read_rules
from skep.tools.firewall.rules import Action, Direction, Network, Rule, RuleSet, Service

__all__ = [
    "Action",
    "Count",
    "Decision",
    "Direction",
    "Firewall",
    "Network",
    "Rule",
    "RuleSet",
    "Service",
    "parse_rules",
    "read_rules",
]
