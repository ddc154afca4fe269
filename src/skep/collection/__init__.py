"""Live nouns: objects, programs, maps, variables, links. They own what an engine made, and close it."""

from skep.collection.base import Map
from skep.collection.object import Object
from skep.collection.program import Link, Program
from skep.collection.variable import Variable

__all__ = ["Link", "Map", "Object", "Program", "Variable"]
