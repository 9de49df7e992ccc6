"""How the shipped models were trained; `python -m xcore_reviews.train --help`."""
