"""How a process of several leaves: at once, and so that the launcher can say who failed and why.

The interpreter's own exit is avoided then: in it gloo's threads abort in every third run, and NCCL may wait for a
process that has failed.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path

_PATIENCE = 5  # seconds in which a launcher notices the process that failed first, and ends the others


def leave(code: int = 0) -> None:
    """End this process; one that is alone goes on."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return
    if code == 0:
        dist.barrier()  # none may leave while another still talks to it
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def fail(message: str, code: int) -> None:
    """Give torchrun the message for its summary, where it is the "root cause", and leave."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        named = f"rank {os.environ['RANK']}: {message}"
        known = dict(message=named, extraInfo=dict(timestamp=int(time.time())))  # in the form that torchrun reads
        Path(path).write_text(json.dumps(dict(message=known)))
    leave(code)


def fail_unexpectedly(error: RuntimeError) -> None:
    """Leave with a traceback; but one that has only lost another waits, so that the launcher names that one."""
    from torch.distributed import DistError

    if isinstance(error, DistError) or "gloo" in str(error):
        message = f"Another process has failed, or hangs: {str(error).splitlines()[0]}"
        print(f"rank {os.environ['RANK']}: {message}", file=sys.stderr)
        time.sleep(_PATIENCE)
    else:
        message = f"{type(error).__name__}: {error}"
        traceback.print_exception(error)
    fail(message, 1)
