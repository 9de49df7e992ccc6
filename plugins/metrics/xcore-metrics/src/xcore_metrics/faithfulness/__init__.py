"""Metrics that ask the model under explanation: how its output changes when concepts are removed or inserted."""
