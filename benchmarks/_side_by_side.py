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

Ways = dict[str, Callable[[], object]]
PEERS = ("onedl-mmsegmentation", "mmsegmentation", "monai", "kornia", "segmentation-models-pytorch", "pydensecrf2")


def compare(
    ways: Ways,
    first: str,
    threads: int,
    rounds: int,
    unit: int,
    out: Path | None,
    peak: Callable[[Callable[[], object]], float] | None = None,
) -> None:
    """Print a table of all ways against the first one, and write the figures as JSON.

    Ratios are medians, with quartiles, of those within one round; the first round warms up. Besides the time on the
    wall there is that of the processor, which other programs disturb less. Extra memory is the peak of what torch's
    allocator hands out, in units of ``unit`` bytes, in one thread, or what ``peak`` measures.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    peaks = {name: (peak or peak_memory)(way) / unit for name, way in ways.items()}
    torch.set_num_threads(threads)
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            synchronize()
            start, start_processor = time.perf_counter(), time.process_time()
            way()
            synchronize()
            if number:
                wall[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - start_processor)
    rows = []
    for name in ways:
        rows.append(
            dict(
                way=name,
                milliseconds=1000 * statistics.median(wall[name]),
                ratio=quartiles(wall[name], wall[first]),
                processor_ratio=quartiles(processor[name], processor[first]),
                peak=peaks[name],
            )
        )
    print_table(rows, first)
    versions = {"python": platform.python_version(), "torch": torch.__version__} | {
        name: version for name in PEERS if (version := version_of(name))
    }
    hardware = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
    print(f"{hardware}, {threads} thread(s), load {os.getloadavg()[0]:.1f} at the end, {rounds} rounds; {versions}")
    if out is not None:
        out.write_text(
            json.dumps(dict(rows=rows, threads=threads, hardware=hardware, versions=versions), indent=1) + "\n"
        )


def quartiles(times: list[float], against: list[float]) -> list[float]:
    ratios = [one / other for one, other in zip(times, against, strict=True)]
    return statistics.quantiles(ratios, n=4, method="inclusive")


def peak_memory(way: Callable[[], object]) -> float:
    """Bytes above what was allocated before, at the worst moment."""
    if torch.cuda.is_available():
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


def print_table(rows: list[dict], first: str) -> None:
    table = PrettyTable(["way", "ms", f"time against {first}", "processor's time", "extra memory"], align="r")
    table.align["way"] = "l"
    for row in rows:
        ratio, processor = ("{1:.2f} ({0:.2f} to {2:.2f})".format(*row[name]) for name in ("ratio", "processor_ratio"))
        table.add_row([row["way"], f"{row['milliseconds']:.0f}", ratio, processor, f"{row['peak']:.2f}"])
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


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({os.cpu_count()} cores)"
