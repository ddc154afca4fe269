"""Programs on hooks of the running kernel: one small file for each kind; ``attach`` has the table."""
