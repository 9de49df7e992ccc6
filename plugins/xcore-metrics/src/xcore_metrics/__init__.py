"""Metrics over explanations that ask no particular method, and the floors and ceilings that they are read against."""
