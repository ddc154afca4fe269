"""Both engines, and a load balancer on one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from skep.kernel.host import kernel_version
from skep.tools.lb import Config, LoadBalancer, parse_config
from skep.tools.lb.layout import Device

Start = Callable[..., LoadBalancer]


@pytest.fixture(scope="session", params=["vm", pytest.param("kernel", marks=pytest.mark.kernel)])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "kernel":
        from skep.kernel.bpf.programs import is_allowed

        if not is_allowed():
            if os.environ.get("SKEP_EXPECT_KERNEL"):
                pytest.fail("bpf(2) is refused, but SKEP_EXPECT_KERNEL says that it must work here")
            pytest.skip("bpf(2) is not allowed here: needs Linux and root")
        if kernel_version()[:2] < (6, 7):
            pytest.skip("since Linux 6.7: the loop over IPv6 headers is entered in the middle (V1907)")
    return str(request.param)


@pytest.fixture(scope="session")
def one(engine: str) -> Iterator[LoadBalancer]:
    with LoadBalancer(Config(), engine=engine, traced=1 << 12, connections=4096) as made:
        yield made


@pytest.fixture
def start(one: LoadBalancer) -> Start:
    """Puts a configuration in force in the engine's load balancer, which has forgotten all earlier ones."""

    def make(text: str, devices: dict[str, Device] | None = None) -> LoadBalancer:
        one.replace(Config())
        one.replace(parse_config(text), devices)
        one.forget_decisions()
        return one

    return make
