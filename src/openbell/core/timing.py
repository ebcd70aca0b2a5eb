"""Where the time of a run went: what each job spent on what.

Times are measured elsewhere and come in as numbers; this module only adds them up.
"""

import msgspec


class Spent(msgspec.Struct, frozen=True):
    """What one attempt at a job spent its time on, in seconds.

    Its copy of the tree, starting its services, its command, reading its reports, and keeping what it left.
    """

    copy_s: float = 0.0
    services_s: float = 0.0
    execute_s: float = 0.0
    reports_s: float = 0.0
    upload_s: float = 0.0
