"""What the running kernel offers, and that it offers what its version and configuration say.

A refusal is a skip that says why, where nobody promised more. ``make test-kernels`` names the configuration that its
kernels were built with (SKEP_KERNEL_CONFIG): there a refusal of what should be there fails.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skep.kernel.host import kernel_version
from tests.kernels.offers import OFFERS, NotOfferedError, Offer

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("kernel")]


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.name)
def test_offers(offer: Offer) -> None:
    try:
        offer.probe()
    except (OSError, NotOfferedError) as error:
        why = f"{error}"
        if not promised(offer):
            pytest.skip(f"{not_promised(offer)}: {why}")
        pytest.fail(f"Linux {offer.since[0]}.{offer.since[1]} has it, and this kernel's configuration: {why}")


def promised(offer: Offer) -> bool:
    """Whether the kernel has to offer it: new enough, and its configuration is known and says so."""
    return kernel_version()[:2] >= offer.since and "SKEP_KERNEL_CONFIG" in os.environ and not missing_options(offer)


def not_promised(offer: Offer) -> str:
    """Why the kernel need not offer it."""
    if kernel_version()[:2] < offer.since:
        return f"since Linux {offer.since[0]}.{offer.since[1]}"
    if "SKEP_KERNEL_CONFIG" in os.environ:
        return f"built without {', '.join(missing_options(offer))}"
    return "refused here"


def missing_options(offer: Offer) -> list[str]:
    """The options that the kernel was built without."""
    lines = Path(os.environ["SKEP_KERNEL_CONFIG"]).read_text().splitlines()
    chosen = {name for name, _, value in (line.partition("=") for line in lines) if value in ("y", "m")}
    return [option for option in offer.options if option not in chosen]
