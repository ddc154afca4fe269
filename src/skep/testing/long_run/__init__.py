"""A million generated programs in an hour: what :mod:`skep.testing.differential` does, for many programs at once."""
