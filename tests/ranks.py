"""Several processes of one group on this machine, for tests."""

import multiprocessing
import os
import pickle
import sys
import traceback
from pathlib import Path

import torch.distributed as dist

# One interpreter imports everything once; every rank is a copy of it.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["cityseg_ext.apis.runs", "cityseg_ext.plugin"])


def on_ranks(world_size, folder, function, *arguments, seconds=120):
    """What `function(*arguments)` returns on each rank of a new gloo group; an error on any of them is raised here."""
    folder = Path(folder)
    store = folder / f"{function.__name__}-{world_size}"
    processes = [
        _SERVER.Process(target=_rank, args=(rank, world_size, store, function, arguments), daemon=True)
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(seconds)
        if process.exitcode != 0:
            for other in processes:
                other.kill()
            raise RuntimeError(
                f"exit code {process.exitcode}\n"
                + "".join(path.read_text() for path in folder.glob(f"{store.name}-*.error"))
            )
    return [pickle.loads(Path(f"{store}-{rank}.pkl").read_bytes()) for rank in range(world_size)]


def _rank(rank, world_size, store, function, arguments):
    from mmengine.registry import init_default_scope

    import cityseg_ext.plugin  # noqa: F401

    init_default_scope("mmseg")
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank))
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world_size)
    try:
        result = function(*arguments)
        Path(f"{store}-{rank}.pkl").write_bytes(pickle.dumps(result))
        dist.barrier()  # none may leave while another still talks to it
    except BaseException:
        Path(f"{store}-{rank}.error").write_text(traceback.format_exc())
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)  # gloo's threads sometimes abort in the interpreter's own exit
