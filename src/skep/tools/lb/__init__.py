"""skep lb: a layer-4 load balancer: virtual addresses in front of backends, by consistent hashing.

::

    from skep.tools.lb import LoadBalancer, read_config

    with LoadBalancer(read_config(Path("lb.yaml"))) as balancer:
        run = balancer.run(skep.hooks.Pcap("in.pcap"))
        print(run.verdicts, balancer.reasons(), balancer.services())
"""

from skep.tools.lb.balancer import LoadBalancer
from skep.tools.lb.config import Backend, Config, Forward, Service
from skep.tools.lb.configfile import parse_config, read_config
from skep.tools.lb.decisions import Decision

__all__ = [
    "Backend",
    "Config",
    "Decision",
    "Forward",
    "LoadBalancer",
    "Service",
    "parse_config",
    "read_config",
]
