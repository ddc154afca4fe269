"""Linking: an ObjectSpec and a Target give flat code for that Target. Pure: nothing here touches the host."""

from skep.linker.link import link, link_all
from skep.linker.variables import set_type, set_variables

__all__ = ["link", "link_all", "set_type", "set_variables"]
