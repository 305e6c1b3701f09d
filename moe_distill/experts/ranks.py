"""The processes of a mixture: started together, watched, and ended together.

A rank that dies, is stopped or comes to no end leaves the others waiting in a collective. Each rank therefore
beats from a thread of its own, and counts its steps; the process that started them ends all of them, and says
which one it was, when one dies, falls silent, or is at one step for long while another waits.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

from pytorch_lightning.strategies.launchers.multiprocessing import (
    _GlobalStateSnapshot,
    _MultiProcessingLauncher,
)
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, start_processes
from tqdm import tqdm

from moe_distill.errors import LostRank
from moe_distill.stopping import GOES_ON, SIGNALS

BEAT_SECONDS = 1.0
# Counted by the watching process, which a pause of the machine, or of all processes at once, stops too.
SILENT_BEATS = 90
# Until its first beat a rank imports.
IMPORTING_BEATS = 600
# Before those that wait for it give up by themselves, which takes 1800 s and names nobody.
STEP_BEATS = 1500
_SETTLE_SECONDS = 0.5


class WatchedRanks(_MultiProcessingLauncher):
    """Lightning's launcher of processes, which are spawned; the arguments are its own."""

    _beats: Any = None
    _steps: Any = None
    _rank = 0

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Run the function in every rank and return what the first one returns.

        Raises:
            LostRank: A rank died, did not move for ``SILENT_BEATS`` seconds, or was at one step while another
                waited for ``STEP_BEATS`` seconds.
            ProcessRaisedException: A rank raised; its traceback is the message.
        """
        spawning = multiprocessing.get_context("spawn")
        os.environ["MASTER_PORT"] = str(self._strategy.cluster_environment.main_port)  # type: ignore[union-attr]
        count: int = self._strategy.num_processes  # type: ignore[attr-defined]
        self._beats, self._steps = (spawning.Array("Q", count, lock=False) for _ in range(2))
        answers = spawning.SimpleQueue()
        task = (trainer, function, args, kwargs, answers, _GlobalStateSnapshot.capture())
        # The ranks inherit it: a terminal sends Ctrl-C to all, and only this process is to answer. None is
        # lost here.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            ranks = start_processes(self._wrapping_function, task, len(self._beats), join=False)
            self.procs = ranks.processes
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            watch(ranks, self._beats, self._steps)
            answer = answers.get()
        except BaseException:
            sys.stderr.write("\n")  # the first rank may have left a bar there
            raise
        finally:
            for process in self.procs:
                process.kill()
                process.join()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._recover_results_in_main_process(answer, trainer)
        return answer.trainer_results

    def _wrapping_function(self, process_idx: int, *task: Any) -> None:
        """Run in a rank."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*SIGNALS} - {signal.SIGINT})
        # Bars are not shared; tqdm's lock between processes would be a semaphore that a killed rank leaves
        # behind.
        tqdm.set_lock(threading.RLock())
        threading.Thread(target=_beat, args=(self._beats, process_idx), daemon=True).start()
        self._rank = process_idx
        super()._wrapping_function(process_idx, *task)

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Count, in a rank, a step on its own: the count is odd while it lasts."""
        self._steps[self._rank] += 1
        yield
        self._steps[self._rank] += 1


def _beat(beats: Any, rank: int) -> None:
    """Count on, in a rank, for as long as the process lives that started it; the rank ends with that."""
    starter = os.getppid()
    while os.getppid() == starter:
        beats[rank] += 1
        time.sleep(BEAT_SECONDS)
    os._exit(1)


def watch(ranks: ProcessContext, beats: Sequence[int], steps: Sequence[int]) -> None:
    """Return when all ranks have ended well.

    Args:
        ranks: Their processes.
        beats: How often each has beaten so far.
        steps: How often each has begun or ended a step.

    Raises:
        LostRank: One was ended by a signal, ended with an exit code of its own, has fallen silent, or comes
            to no end.
        ProcessRaisedException: One raised.
    """
    processes = ranks.processes
    seen, silent = [*beats], [0] * len(processes)
    begun, since = [*steps], [0] * len(processes)
    while running := [process for process in processes if process.exitcode is None]:
        ended = wait([process.sentinel for process in running], timeout=BEAT_SECONDS)
        if any(process.exitcode for process in processes):
            break
        for rank, process in enumerate(processes):
            moved = process.exitcode is not None or beats[rank] != seen[rank]
            silent[rank] = 0 if moved else silent[rank] + (not ended)
            if silent[rank] >= (SILENT_BEATS if seen[rank] else IMPORTING_BEATS):
                raise LostRank(_lost(rank, process, f"has not moved for {silent[rank] * BEAT_SECONDS:.0f} s"))
            since[rank] = 0 if steps[rank] != begun[rank] else since[rank] + (not ended)
        long = [
            i for i, process in enumerate(processes) if process.exitcode is None and since[i] >= STEP_BEATS
        ]
        waiting, at_work = ([i for i in long if steps[i] % 2 == odd] for odd in (0, 1))
        if waiting and at_work:
            took = f"{since[at_work[0]] * BEAT_SECONDS:.0f} s"
            how = f"has been at one iteration for {took}, while rank {waiting[0]} waits for it"
            raise LostRank(_lost(at_work[0], processes[at_work[0]], how))
        seen, begun = [*beats], [*steps]
    time.sleep(_SETTLE_SECONDS if any(process.exitcode for process in processes) else 0)
    # First, as whoever waited for it in a collective raises too.
    for rank, process in enumerate(processes):
        if (process.exitcode or 0) < 0:
            raise LostRank(_lost(rank, process, f"was ended by {signal.Signals(-process.exitcode).name}"))
    try:
        while not ranks.join():
            pass
    except ProcessExitedException as error:
        process = processes[error.error_index]
        raise LostRank(
            _lost(error.error_index, process, f"ended with exit code {error.exit_code}")
        ) from error


def _lost(rank: int, process: Any, how: str) -> str:
    return f"rank {rank} of the experts' processes (process {process.pid}) {how}; the others were ended; {GOES_ON}"
