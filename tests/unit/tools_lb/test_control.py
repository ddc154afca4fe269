"""The verbs of a running load balancer, without a socket; interfaces of a namespace."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from skep.errors import UsageError
from skep.tools.lb import LoadBalancer, read_config
from skep.tools.lb.control import Control, devices_of
from skep.tools.lb.health import Finding, HealthChecks
from tests.unit.tools_lb.test_live import TEXT
from tests.unit.vm_live.network import in_namespace, make_veth


@in_namespace
def test_interfaces_of_a_namespace() -> None:
    make_veth()
    subprocess.run(["ip", "link", "set", "va", "address", "02:00:00:00:00:77"], check=True)
    found = devices_of({"va", "nope0"})
    assert list(found) == ["va"]
    assert found["va"].mac == bytes.fromhex("020000000077")
    assert found["va"].number > 0


def test_verbs(tmp_path: Path) -> None:
    file = tmp_path / "lb.yaml"
    file.write_text(TEXT)
    with LoadBalancer(read_config(file)) as balancer, HealthChecks() as checks:
        control = Control(balancer, checks, file)
        verbs = control.verbs
        verbs["add"]({"service": "web", "backend": "10.0.0.4", "weight": 3, "mac": "02:00:00:00:00:09"})
        assert balancer.member("web", "10.0.0.4")[1].backend.mac == bytes.fromhex("020000000009")
        verbs["weight"]({"service": "web", "backend": "10.0.0.4:80", "weight": 2})
        verbs["drain"]({"service": "web", "backend": "10.0.0.1"})
        verbs["remove"]({"service": "web", "backend": "10.0.0.2"})
        states = {each["name"]: each["state"] for each in verbs["show"]({})["services"][0]["backends"]}
        assert states == {"10.0.0.1:80": "draining", "10.0.0.3:80": "active", "10.0.0.4:80": "active"}
        for wrong in ({"backend": "10.0.0.x"}, {"backend": "10.0.0.5", "mac": "1"}, {"backend": "10.0.0.5:81"}):
            with pytest.raises(UsageError) as caught:
                verbs["add"]({"service": "web", **wrong})
            assert caught.value.diagnostic.code == "N0206"
        assert verbs["reload"]({}) == 2
        assert {each["name"] for each in balancer.services()[0]["backends"]} == {
            "10.0.0.1:80",
            "10.0.0.2:80",
            "10.0.0.3:80",
        }


def test_findings_change_states(tmp_path: Path) -> None:
    file = tmp_path / "lb.yaml"
    file.write_text(TEXT)
    with LoadBalancer(read_config(file)) as balancer, HealthChecks() as checks:
        control = Control(balancer, checks, file)
        checks._found.put(Finding("web", "10.0.0.2:80", False, "refused"))
        checks._found.put(Finding("web", "10.0.0.99:80", False, "was removed meanwhile"))
        assert [finding.backend for finding in control.take_findings()] == ["10.0.0.2:80"]
        assert "10.0.0.2:80" in balancer.shares("web")
        assert balancer.shares("web")["10.0.0.2:80"] == 0


def test_connections_are_carried_over() -> None:
    from skep.tools.lb import parse_config
    from tests.unit.tools_lb.test_live import ACK, backend_of, opened, tcp

    more = TEXT.replace("10.0.0.3]", "10.0.0.3, 10.0.0.4, 10.0.0.5]")
    with LoadBalancer(parse_config(TEXT), traced=4) as old, LoadBalancer(parse_config(more), traced=4) as new:
        before = opened(old)
        assert new.adopt(old) == len(before)
        assert {sport: backend_of(new, tcp(sport, ACK)) for sport in before} == before


def test_the_view_of_top(capsys: pytest.CaptureFixture[str]) -> None:
    """What came since the last view stands in a column of its own."""
    from skep.cli.lb_live import print_view
    from skep.tools.lb import parse_config
    from tests.unit.tools_lb.test_live import ACK, SYN, tcp

    with LoadBalancer(parse_config(TEXT.replace("10.0.0.1, 10.0.0.2, 10.0.0.3", "10.0.0.1"))) as balancer:
        program = balancer.object.programs["lb"]
        program.run(tcp(5000, SYN))
        before = balancer.counts()
        for _ in range(3):
            program.run(tcp(5000, ACK))
        print_view(balancer.counts(), before)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["service", "backend", "state", "weight", "live", "opened", "packets", "bytes", "replies", "now"]
    assert lines[1] == ["web", "10.0.0.1:80", "active", "1", "1", "1", "4", "216", "0", "3"]
    assert ["to", "a", "backend", "4", "216", "3"] in lines
