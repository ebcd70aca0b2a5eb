"""`openbell sarif`: a report of a tool that speaks no SARIF, written as SARIF."""

import sys
from pathlib import Path

from openbell.cli.terminal import DONE, FAILED, NOT_CHECKED, complain, counted, say
from openbell.ports import AdapterError
from openbell.wiring.sarif_conversion import Format, convert


def sarif(format_: Format, file: Path, output: Path, /, *, about: Path | None = None, tool: str = "checks") -> int:
    """Write a scanner's own report as SARIF, for `reports.sarif` of a job, so that its findings get into the ledger.

    `pip-audit` and `betterleaks` are their JSON reports. `lines` is one JSON object per line with `rule`, `message`,
    and where it applies `severity`, `path`, `line` and `key`; a line `{"incomplete": "why"}` says that not everything
    could be looked at. Exit code 0: nothing was found. 1: something was (`findings_exit_codes = [1]`). 75: the tool
    could not look at everything (`not_checked_exit_codes = [75]`); what it found is written all the same.

    Parameters
    ----------
    format_
        Whose report it is.
    file
        The report.
    output
        The SARIF file to write.
    about
        What was looked at: the requirements file of pip-audit, the folder of betterleaks.
    tool
        The name that the findings of lines are under.
    """
    try:
        converted = convert(format_, file, output, about=about, tool=tool)
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=NOT_CHECKED)
    say(f"{file.name}: {counted(converted.found, 'finding')}", stream=sys.stdout)
    if converted.incomplete:
        say(f"not everything was looked at: {converted.incomplete}", stream=sys.stdout)
        return NOT_CHECKED
    return FAILED if converted.found else DONE
