"""Runs cells by submitit."""
