"""What an instruction does to a state, once everything that it needs is proved. No errors here."""
