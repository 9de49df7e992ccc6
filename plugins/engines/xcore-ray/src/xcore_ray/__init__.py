"""Runs cells on Ray."""
