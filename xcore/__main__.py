"""``python -m xcore`` is the command line."""

from xcore.cli import main

main()
