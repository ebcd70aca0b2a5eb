"""Runs the command line as `python -m trading_engine`."""

import sys

from trading_engine.cli import main

sys.exit(main())
