"""Linking: an ObjectSpec and a Target give flat code for that Target. Pure: nothing here touches the host."""

from skep.linker.arenas import place_variables
from skep.linker.link import default_programs, link, link_all
from skep.linker.static import link_static
from skep.linker.variables import set_type, set_variables

__all__ = ["default_programs", "link", "link_all", "link_static", "place_variables", "set_type", "set_variables"]
