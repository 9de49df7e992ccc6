"""Follows a bench with trackio."""
