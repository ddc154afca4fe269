"""Say what is wrong in the user's words: from a violation to a Diagnostic. All sentences are in ``catalogue``."""
