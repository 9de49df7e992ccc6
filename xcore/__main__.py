"""``python -m xcore`` is the command line."""

from xcore.cli.main import main

main()
