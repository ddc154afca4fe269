"""What users and skep itself test with: a conformance kit for engines, programs from assembly, cases, captures."""

from skep.testing.engines import check_engine
from skep.testing.programs import make_object

__all__ = ["check_engine", "make_object"]
