"""Metrics that ask the model under explanation: what happens when concepts are taken away or put in."""
