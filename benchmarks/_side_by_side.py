"""Ways to compute the same thing, timed in turns, so that a busy machine slows all of them alike."""

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch
from prettytable import PrettyTable
from torch.profiler import ProfilerActivity, profile

from cityseg_ext.apis.provenance import hardware

Ways = dict[str, Callable[[], object]]
PEERS = (
    "onedl-mmsegmentation",
    "mmsegmentation",
    "monai",
    "kornia",
    "segmentation-models-pytorch",
    "pydensecrf2",
    "triton",
    "numba",
)


def compare(
    ways: Ways,
    first: str,
    threads: int,
    rounds: int,
    unit: int,
    out: Path | None,
    peak: Callable[[Callable[[], object]], float] | None = None,
    gpu: bool = torch.cuda.is_available(),
    least_bytes: int | None = None,
) -> None:
    """Print a table of all ways against the first one, and write the figures as JSON.

    Ratios are medians, with quartiles, of those within one round; the first round warms up. Extra memory is the peak of
    what torch's allocator hands out, or what ``peak`` measures, in units of ``unit`` bytes, in one thread. Besides the
    time on the wall there is that of the processor, which other programs disturb less; on a GPU that of its kernels,
    without the gaps between them, and, if it is known how many bytes must be moved at least, the rate of these in parts
    of what the GPU reaches in a plain copy.
    """
    torch.set_num_threads(1)
    peaks = {name: (peak(way) if peak else peak_memory(way, gpu)) / unit for name, way in ways.items()}
    torch.set_num_threads(threads)
    wall: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds, processor = timed(way, gpu)
            if number:
                wall[name].append(seconds)
                busy[name].append(kernel_time(way) if gpu else processor)
    rows = []
    for name in ways:
        rows.append(
            dict(
                way=name,
                milliseconds=1000 * statistics.median(wall[name]),
                busy_milliseconds=1000 * statistics.median(busy[name]),
                ratio=quartiles(wall[name], wall[first]),
                busy_ratio=quartiles(busy[name], busy[first]),
                peak=peaks[name],
            )
        )
    machine = hardware()
    name = machine["device"] if gpu else f"{machine['processor']} ({machine['cores']} cores)"
    facts = dict(threads=threads, hardware=name)
    if gpu and least_bytes is not None:
        facts["copy_rate"] = copy_rate()
        for row in rows:
            row["of_copy_rate"] = least_bytes / (row["busy_milliseconds"] / 1000) / facts["copy_rate"]
    print_table(rows, first, gpu)
    facts["versions"] = {"python": platform.python_version(), "torch": torch.__version__} | {
        name: version for name in PEERS if (version := version_of(name))
    }
    state = "" if gpu else f", {threads} thread(s), load {os.getloadavg()[0]:.1f} at the end"
    if "copy_rate" in facts:
        state = f", which copies {facts['copy_rate'] / 1e9:.0f} GB/s"
    print(f"{facts['hardware']}{state}, {rounds} rounds; {facts['versions']}")
    if out is not None:
        out.write_text(json.dumps(dict(rows=rows, **facts), indent=1) + "\n")


def timed(way: Callable[[], object], gpu: bool) -> tuple[float, float]:
    """Seconds on the wall and of the processor."""
    if gpu:
        torch.cuda.synchronize()
    start, start_processor = time.perf_counter(), time.process_time()
    way()
    if gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - start_processor


def kernel_time(way: Callable[[], object]) -> float:
    """Seconds that the GPU's kernels take, copies and fills included."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        way()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6


def copy_rate() -> float:
    """Bytes a second that the GPU reads and writes when it copies 1 GiB; the best of ten."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / min(timed(lambda: target.copy_(source), gpu=True)[0] for _ in range(10))


def quartiles(times: list[float], against: list[float]) -> list[float]:
    ratios = [one / other for one, other in zip(times, against, strict=True)]
    return statistics.quantiles(ratios if len(ratios) > 1 else 2 * ratios, n=4, method="inclusive")


def peak_memory(way: Callable[[], object], gpu: bool = torch.cuda.is_available()) -> float:
    """Bytes above what was allocated before, at the worst moment."""
    if gpu:
        way()  # what is compiled or planned at the first call is not counted
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        way()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        way()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def peak_process_memory(way: Callable[[], object]) -> float:
    """Bytes by which a copy of this process grows: other allocators than torch's count too, and long runs fit."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        way()
        grown = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(writer, str(grown).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        return float(answer.read())


def print_table(rows: list[dict], first: str, gpu: bool) -> None:
    busy_name = "kernels' time" if gpu else "processor's time"
    rates = ["of the copy rate"] if "of_copy_rate" in rows[0] else []
    table = PrettyTable(["way", "ms", f"time against {first}", busy_name, "extra memory", *rates], align="r")
    table.align["way"] = "l"
    for row in rows:
        ratio, busy = ("{1:.2f} ({0:.2f} to {2:.2f})".format(*row[name]) for name in ("ratio", "busy_ratio"))
        cells = [row["way"], f"{row['milliseconds']:.{2 if gpu else 0}f}", ratio, busy, f"{row['peak']:.2f}"]
        table.add_row([*cells, f"{row['of_copy_rate']:.2f}"] if rates else cells)
    print(table)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clock() -> float:
    """Seconds of this process' processors, which other programs disturb less; with a GPU, seconds on the wall."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
