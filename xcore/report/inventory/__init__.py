"""Run directories after the run: what is in them, what can go, and their scores as a table of observations."""
