"""`python -m openbell` is `openbell`."""

from openbell.cli.main import main

main()
